"""What the tests stand on: owners of the worker, real and faulty servers, an oracle."""
