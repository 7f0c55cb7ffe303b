"""Who signed what: signing, trust roots, the identity policy, and verification to a verdict."""
