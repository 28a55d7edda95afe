"""Tests of single parts: in memory, or with the test's own pipes and sockets."""
