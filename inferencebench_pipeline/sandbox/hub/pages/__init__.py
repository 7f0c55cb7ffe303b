"""The Hub's pages for people with a browser."""
