#!/bin/sh
# Fetch, verify and lay out the released weights in pretrained_weights/. Goes on where it was stopped.
set -eu
PYTHON="${PYTHON:-.venv/bin/python}"
"$PYTHON" scripts/download_weights.py --system stable_animator "$@"
"$PYTHON" scripts/download_weights.py --only StableAnimator-face_optimisation --only StableAnimator-examples "$@"
