"""Decisions without I/O: retries, concurrency, rate limit, which chunks to ask for."""
