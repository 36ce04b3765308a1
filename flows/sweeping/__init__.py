"""A sweep in parts: its points, the copies in which they run, the runner, and what it found."""
