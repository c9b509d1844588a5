"""Training data of EasyAnimate."""
