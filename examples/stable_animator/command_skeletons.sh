#!/bin/sh
# Skeletons of a driving video (or folder of pictures), aligned with a picture, into the case's folder.
set -eu
CASE="${CASE:-inference/case-1}"
DRIVING="$1"
PICTURE="$2"
shift 2
"${PYTHON:-.venv/bin/python}" -m scripts.skeleton_extraction --target_image_folder_path "$DRIVING" \
    --ref_image_path "$PICTURE" --poses_folder_path "$CASE/poses" "$@"
