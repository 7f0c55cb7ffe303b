"""The commands that check a record or a corpus, and show what was found."""
