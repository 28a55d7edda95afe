"""Stores of chunks: directory, HTTP, S3. `location.py` chooses the one for a message's `store`."""
