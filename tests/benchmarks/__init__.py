"""Tests of the benchmarks: their arithmetic, their pages, and what runs a program."""
