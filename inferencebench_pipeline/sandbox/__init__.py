"""The outside world on loopback: a Hub and a Sigstore for trying, testing and demonstrating.

Nothing in the product imports this package but its own command line, the demo and the tests. What
it signs or stores proves nothing to anyone else.
"""
