#!/bin/sh
# Report on every clip of the path list LIST; write one of those without problems, and a picture of them.
set -eu
DATA="${DATA:-animation_data}"
"${PYTHON:-.venv/bin/python}" -m scripts.check_dataset --system stable_animator "${LIST:-$DATA/video_path.txt}" \
    --list "${CLEANED:-cleaned_path.txt}" --sheet "${SHEET:-clips.png}" "$@"
