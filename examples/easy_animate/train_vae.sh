#!/bin/sh
# Train the video autoencoder with the original's settings; CONFIG is one of its stages.
set -eu
CONFIG="${CONFIG:-configs/training/easy_animate/vae_v3.yaml}"
DATA="${DATA:-datasets/internal_datasets}"
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_easy_animate_vae.py "$CONFIG" \
    --data_json_path="$DATA/json_of_internal_datasets.json" \
    --data_root="$DATA" \
    --output_dir="${OUTPUT:-exp_output/easy_animate_vae}" \
    "$@"
