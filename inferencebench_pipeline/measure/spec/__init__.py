"""Specs: the documents that say what is measured, from a YAML file to ``spec.json``."""
