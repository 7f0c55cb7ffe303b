"""The v1 envelope: its models, its canonical body and content hash, and building one."""
