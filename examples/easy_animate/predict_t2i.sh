#!/bin/sh
# A picture of a text: a video of one frame.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.predict_t2v \
    --config "${CONFIG:-configs/inference/easy_animate/v4.yaml}" \
    --prompt "${PROMPT:-A lighthouse on a cliff at dusk, waves below, photograph.}" \
    --num-frames 1 --base 1024 \
    --output "${OUTPUT:-easy_animate_t2i.png}" \
    "$@"
