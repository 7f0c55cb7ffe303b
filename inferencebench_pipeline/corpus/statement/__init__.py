"""The corpus statement: what it covers, and what was ever signed or about to be signed."""
