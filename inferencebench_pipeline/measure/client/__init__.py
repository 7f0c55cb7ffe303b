"""The measuring client: one thread, its own sockets, arrival times from the kernel.

It runs in a process of its own (``python -m inferencebench_pipeline.measure.client``) so that
nothing else, an orchestrator least of all, shares its interpreter lock while it measures. Bytes
and stamps are kept as they come; everything is parsed after the window (``decode``).
"""
