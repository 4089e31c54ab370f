"""A run: load, compute and persist, chunk by chunk."""
