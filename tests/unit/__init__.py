"""Tests of the parts, each by itself: in memory, or with pipes and sockets of the test's own."""
