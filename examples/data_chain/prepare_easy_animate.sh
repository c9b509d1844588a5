#!/bin/sh
# Clips with captions of an OpenAI-compatible server, such as `vllm serve OpenGVLab/InternVL2-8B`.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.prepare_videos "${VIDEOS:-videos}" "${OUTPUT:-easy_animate_data}" --for easy_animate \
    --captioner "${CAPTIONER:-http://127.0.0.1:8000/v1}" --model "${MODEL:-OpenGVLab/InternVL2-8B}" "$@"
