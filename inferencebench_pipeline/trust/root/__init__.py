"""Trust roots: the certificate authorities, logs and clocks we trust, and the copy that is kept."""
