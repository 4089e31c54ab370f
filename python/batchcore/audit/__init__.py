"""What is stored, recomputed and compared, cell by cell."""
