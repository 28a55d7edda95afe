"""The two ends on this host: what is read and what is written."""
