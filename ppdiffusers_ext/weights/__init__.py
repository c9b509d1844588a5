"""Checkpoints: reading them without trusting them, and bringing them into the project's classes."""

from ppdiffusers_ext.weights.loading import load_tensors

__all__ = ["load_tensors"]
