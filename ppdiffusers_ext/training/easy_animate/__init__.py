"""Training of EasyAnimate."""
