"""Workers that put large files into a chunk store, and get them back."""

__version__ = "0.1.0"
