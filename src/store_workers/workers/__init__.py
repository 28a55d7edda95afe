"""The workers: each reads from top to bottom as its work goes."""
