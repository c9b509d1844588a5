"""Metrics of generated videos against the true videos.

`frames` compares two pictures and `video` two videos, both without weights and without Paddle. `sources` finds and
pairs the clips, `evaluation` compares them, `report` prints and writes the result. See docs/metrics.md for the
definitions.

Datasets are evaluated by protocols (`protocol`, which names metrics of `catalogue`): `dataset` plans what is computed
of each clip (`tasks`, on frames from `preparing`) and sums it up (`summary`); `dataset_report` tells it. `networks`,
`distribution`, `frechet`, `perceptual` and `pixels` are the metrics of papers, `testsets` their clips.
"""
