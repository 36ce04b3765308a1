"""Training objectives, one a file: how a batch becomes a loss; see `tasks/training/batches.py`."""
