"""The link to our records in a model's card: its front matter is edited byte by byte."""
