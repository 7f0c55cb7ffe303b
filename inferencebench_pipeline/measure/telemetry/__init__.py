"""Telemetry: what the machine drew and did while it was measured, sampled beside the client."""
