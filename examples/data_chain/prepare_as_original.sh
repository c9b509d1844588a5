#!/bin/sh
# The thresholds of aigc-apps/EasyAnimate's scripts, and its filter, which keeps clips without a score.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.prepare_videos "${VIDEOS:-videos}" "${OUTPUT:-easy_animate_data}" --for easy_animate \
    --config configs/data_chain/original.yaml --as-original \
    --captioner "${CAPTIONER:-http://127.0.0.1:8000/v1}" --model "${MODEL:-OpenGVLab/InternVL2-8B}" "$@"
