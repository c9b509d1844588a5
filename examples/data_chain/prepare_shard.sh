#!/bin/sh
# One part of the videos, as a task of a Slurm array: sbatch --array=1-16 examples/data_chain/prepare_shard.sh
# A run of prepare_animate_anyone.sh afterwards puts all parts together.
#SBATCH --cpus-per-task=8
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.prepare_videos "${VIDEOS:-videos}" "${OUTPUT:-ubcNbili_data}" --for animate_anyone \
    --shard "${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" -j "${SLURM_CPUS_PER_TASK:-2}" "$@"
