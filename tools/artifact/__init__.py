"""The steps of ``tools/build.py``, a module each."""
