"""Provenance: the host, the memory and the software that a run was measured on."""
