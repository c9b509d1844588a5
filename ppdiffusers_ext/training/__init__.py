"""Training on paddlenlp.trainer: losses, models, data and checkpoints."""
