"""What is written into the host's tables: frames encoded as rows, and what the server kept."""
