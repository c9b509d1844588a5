#!/bin/sh
# Train stage 1 as configs/training/stage1.yaml says, on the GPUs of GPUS, or as LAUNCH says:
#     LAUNCH="--nproc_per_node 2" sh examples/animate_anyone/train_stage1.sh --max_steps 100
set -eu
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_stage1.py configs/training/stage1.yaml "$@"
