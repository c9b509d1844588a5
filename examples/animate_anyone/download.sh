#!/bin/sh
# Fetch, verify and lay out the released weights in pretrained_weights/. Goes on where it was stopped.
# What training starts from comes with: --only stable-diffusion-v1-5-unet --only animatediff
set -eu
"${PYTHON:-.venv/bin/python}" scripts/download_weights.py --system animate_anyone "$@"
