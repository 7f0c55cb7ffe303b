"""The inbox: finished runs of other machines, from a folder or an object store."""
