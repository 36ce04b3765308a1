"""Claims about speed and accuracy, each a command that prints what it measured; `make help` lists them."""
