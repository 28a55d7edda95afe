"""Support of the tests: owners of the worker, servers, reference implementations."""
