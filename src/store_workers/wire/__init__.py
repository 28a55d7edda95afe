"""The wire: messages in, events out, their types, and the two ends of it."""
