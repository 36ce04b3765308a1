"""Models, one a file. `tasks/training/protocol.py` says what a file gives."""
