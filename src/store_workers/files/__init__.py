"""The local end of a transfer: the source that is read, the target that is written."""
