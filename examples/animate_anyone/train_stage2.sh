#!/bin/sh
# Train stage 2 as configs/training/stage2.yaml says, on the GPUs of GPUS.
set -eu
"${PYTHON:-.venv/bin/python}" -u -m paddle.distributed.launch --gpus "${GPUS:-0,1,2,3}" \
    scripts/trainer_stage2.py configs/training/stage2.yaml
