"""What people decided about labels: the log, and applying it."""
