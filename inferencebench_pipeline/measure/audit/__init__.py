"""The engine's own counters, read before and after a run and compared with the traces."""
