"""Metrics of generated videos against the true videos.

`frames` compares two pictures and `video` two videos, both without weights and without Paddle. `sources` finds and
pairs the clips, `evaluation` compares them, `report` prints and writes the result. A metric that needs a network gets
a module of its own beside `frames`. See docs/metrics.md for the definitions.
"""
