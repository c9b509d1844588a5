"""Training of Animate Anyone."""
