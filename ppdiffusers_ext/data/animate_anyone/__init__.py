"""Training data of Animate Anyone."""
