"""Chunks as files in a directory."""
