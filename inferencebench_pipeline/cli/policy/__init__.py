"""The options and commands that say whose signatures are believed."""
