"""The workers: upload, download, verify."""
