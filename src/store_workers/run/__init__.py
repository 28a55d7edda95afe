"""One run: signals, heartbeat, limits of the host."""
