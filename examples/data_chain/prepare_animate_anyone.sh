#!/bin/sh
# Clips of one person with their skeleton videos, in the ubcNbili_data layout.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.prepare_videos "${VIDEOS:-videos}" "${OUTPUT:-ubcNbili_data}" --for animate_anyone "$@"
