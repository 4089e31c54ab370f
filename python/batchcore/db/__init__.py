"""The host's tables: what they are, whether they fit, and how a database gets them."""
