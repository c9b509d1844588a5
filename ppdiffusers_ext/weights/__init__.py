"""Checkpoints: fetching them, reading them without trusting them, and bringing them into the project's classes."""

from typing import Any

__all__ = ["load_tensors"]


def __getattr__(name: str) -> Any:
    # Reading needs Paddle, which takes seconds to import; fetching does not.
    if name == "load_tensors":
        from ppdiffusers_ext.weights.loading import load_tensors

        return load_tensors
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
