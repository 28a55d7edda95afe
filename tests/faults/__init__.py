"""Faults of the store, the network, the disk, the owner and the worker."""
