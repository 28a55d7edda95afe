"""Decisions about transfers, without I/O: retry, how many at once, what to ask first."""
