"""Animate Anyone: from its options to a video."""
