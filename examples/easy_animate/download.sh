#!/bin/sh
# Fetch, verify and unpack the released weights of V4 in pretrained_weights/; of others with --only NAME. Goes on where it
# was stopped.
set -eu
"${PYTHON:-.venv/bin/python}" scripts/download_weights.py --system easy_animate "$@"
