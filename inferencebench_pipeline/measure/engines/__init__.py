"""Engines: started by us or reached over HTTP, each with its report of itself."""
