"""Self-tests: how far this run can be trusted, measured on its own rows without the truth."""
