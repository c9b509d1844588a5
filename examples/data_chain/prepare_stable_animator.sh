#!/bin/sh
# Clips of one person as pictures, skeletons and face masks, with path lists.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.prepare_videos "${VIDEOS:-videos}" "${OUTPUT:-stable_animator_data}" --for stable_animator "$@"
