"""Where prompts come from: data sets, made-up text of exact length, and what identifies them."""
