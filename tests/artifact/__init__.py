"""Tests of the one file: what it starts on, what it survives, how it is built."""
