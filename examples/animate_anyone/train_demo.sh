#!/bin/sh
# Train the small model of the demo: autoencoder, stage 1, stage 2; about four hours on two processor cores.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.train_demo "$@"
