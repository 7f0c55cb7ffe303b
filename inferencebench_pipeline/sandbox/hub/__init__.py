"""A Hub-compatible server on loopback, spoken to by the unmodified ``huggingface_hub`` client."""
