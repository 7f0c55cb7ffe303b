"""Measuring an inference engine: from a spec to a capture, traces, metrics and provenance."""
