#!/bin/sh
# Animate the pictures that configs/inference/animation.yaml names by its pose videos.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.pose2vid --config configs/inference/animation.yaml -W 600 -H 784 -L 120 "$@"
