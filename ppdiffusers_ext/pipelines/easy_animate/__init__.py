"""EasyAnimate: from its options to a video."""
