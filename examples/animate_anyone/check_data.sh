#!/bin/sh
# Report on every clip; write a meta file of those without problems, and a picture of them.
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.check_dataset ubcNbili_data --meta cleaned_meta.json --sheet clips.png "$@"
