"""A Sigstore on loopback: issuer, Fulcio, CT log, Rekor v1 and v2, timestamp authority.

An unmodified Sigstore client signs and verifies against it through a ClientTrustConfig file, the
same file that points it at any other Sigstore. What it signs proves nothing to anyone else: every
key was made here, and anyone who reaches the port can be anybody.
"""
