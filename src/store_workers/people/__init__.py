"""For people: verbs, help, progress bar, log."""
