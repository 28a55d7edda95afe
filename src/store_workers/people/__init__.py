"""For people and operators: help, progress bar, log."""
