"""Chunks on a plain HTTP server, and the transport that every HTTP store uses."""
