"""Training of StableAnimator."""
