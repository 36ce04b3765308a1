"""What models share: how stages call them, the training loop of torch models, and checkpoints."""
