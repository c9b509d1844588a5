#!/bin/sh
# A video that begins with a picture and, with END=..., ends with another, in the bucket of the picture's shape.
set -eu
[ -z "${END:-}" ] || set -- --end-image "$END" "$@"
"${PYTHON:-.venv/bin/python}" -m scripts.predict_i2v \
    --config "${CONFIG:-configs/inference/easy_animate/v4.yaml}" \
    --start-image "${START:-start.png}" --base 512 \
    --prompt "${PROMPT:-The person smiles and turns the head.}" \
    --output "${OUTPUT:-easy_animate_i2v.mp4}" \
    "$@"
