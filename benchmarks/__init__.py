"""Claims about speed and accuracy, each a command that prints a table: `make repro`, `accept`, `bench`."""
