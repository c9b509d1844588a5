#!/bin/sh
# Train stage 1 as configs/training/stage1.yaml says, on the GPUs of GPUS.
set -eu
"${PYTHON:-.venv/bin/python}" -u -m paddle.distributed.launch --gpus "${GPUS:-0,1,2,3}" \
    scripts/trainer_stage1.py configs/training/stage1.yaml
