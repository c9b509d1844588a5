#!/bin/sh
# Train a small text-to-video model on drawn people: autoencoder, transformer and LoRA; less than three hours on two cores.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.train_demo_easy_animate "$@"
