"""Run a message, a session or a process: signals, heartbeat, limits of the host."""
