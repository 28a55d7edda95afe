"""Long runs against a store that fails at random, by command: ``--suite soak``."""
