"""The host's tables: their catalog, their checks, and their migrations."""
