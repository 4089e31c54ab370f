"""Stored rows, recomputed and compared cell by cell."""
