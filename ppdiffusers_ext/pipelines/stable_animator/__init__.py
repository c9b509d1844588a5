"""StableAnimator: from its options to a video."""
