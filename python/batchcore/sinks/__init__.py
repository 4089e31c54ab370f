"""Writes into the host's tables: frames encoded as rows, and the check of stored rows."""
