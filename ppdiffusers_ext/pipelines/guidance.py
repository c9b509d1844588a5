"""Classifier-free guidance: where the prediction goes when the condition is exaggerated."""


def guide(unconditional, conditional, scale):
    """unconditional + scale * (conditional - unconditional), of one shape (Ho & Salimans 2022, arXiv:2207.12598)."""
    return unconditional + scale * (conditional - unconditional)
