"""A run's dataset on the Hub: its name, its card, its files, and their publication."""
