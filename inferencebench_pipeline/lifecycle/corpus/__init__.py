"""The assets of the group ``corpus``: everything that is published, and its verification."""
