#!/bin/sh
# A long video of a text, 432 frames in four parts: three of 144 frames that share 4, and a last one of 16 that shares 8.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.predict_t2v \
    --config "${CONFIG:-configs/inference/easy_animate/v4.yaml}" \
    --prompt "${PROMPT:-A train passes through autumn hills, seen from above.}" \
    --num-frames 432 --segment 144 --overlap 4 \
    --output "${OUTPUT:-easy_animate_long.mp4}" \
    "$@"
