#!/bin/sh
# Train a small model on drawn people: autoencoder, recogniser and StableAnimator; less than two hours on two cores.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.train_demo_stable_animator "$@"
