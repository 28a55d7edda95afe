"""Tests of the stores: a common contract, and the specifics of each."""
