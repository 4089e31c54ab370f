"""What is read of the host's tables: each SELECT with its columns and the frame they make."""
