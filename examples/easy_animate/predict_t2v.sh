#!/bin/sh
# A video of a text, with the original's settings of V4: 144 frames of 672x384.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.predict_t2v \
    --config "${CONFIG:-configs/inference/easy_animate/v4.yaml}" \
    --prompt "${PROMPT:-一位年轻女子站在雪地森林里，阳光透过树枝，镜头缓缓推进。}" \
    --output "${OUTPUT:-easy_animate_t2v.mp4}" \
    "$@"
