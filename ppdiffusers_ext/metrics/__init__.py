"""How good generated videos are: numbers by comparison with the true videos.

`frames` compares two pictures and `video` two videos, both without weights and without Paddle. `sources` finds what to
compare, `evaluation` compares it, `report` prints and writes the result. A metric that needs a network gets a
module of its own beside `frames`. docs/metrics.md says what each number means.
"""
