"""Signing: identity token, certificate, timestamp and log entry, finished after any crash."""
