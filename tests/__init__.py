"""Tests of store-workers."""
