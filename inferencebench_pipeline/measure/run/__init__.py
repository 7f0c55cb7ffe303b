"""One run from its spec to its measurement: the client process, the traces, the conduct report."""
