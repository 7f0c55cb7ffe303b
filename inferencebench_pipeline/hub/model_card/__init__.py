"""TODO model_card."""
