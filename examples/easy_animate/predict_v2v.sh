#!/bin/sh
# A video made anew: as a whole, or with MASK=... where that picture is white.
set -eu
[ -z "${MASK:-}" ] || set -- --mask "$MASK" "$@"
"${PYTHON:-.venv/bin/python}" -m scripts.predict_v2v \
    --config "${CONFIG:-configs/inference/easy_animate/v4.yaml}" \
    --video "${VIDEO:-video.mp4}" --base 512 \
    --prompt "${PROMPT:-A person of clay walks through a street of clay.}" \
    --output "${OUTPUT:-easy_animate_v2v.mp4}" \
    "$@"
