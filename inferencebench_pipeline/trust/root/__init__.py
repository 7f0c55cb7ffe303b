"""Trust roots: whose certificates, logs and clocks count, and the copy that is kept of them."""
