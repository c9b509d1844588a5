"""Training data of StableAnimator."""
