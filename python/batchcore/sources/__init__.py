"""Reads of the host's tables: each SELECT with its columns and its frame."""
