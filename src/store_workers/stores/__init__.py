"""Where chunks live. `locate` (in `location.py`) turns a message's `store` into one of them."""
