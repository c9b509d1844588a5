#!/bin/sh
# Train stage 2 as configs/training/stage2.yaml says, on the GPUs of GPUS, or as LAUNCH says:
#     LAUNCH="--nproc_per_node 2" sh examples/animate_anyone/train_stage2.sh --max_steps 100
set -eu
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_stage2.py configs/training/stage2.yaml "$@"
