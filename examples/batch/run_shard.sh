#!/bin/sh
# One part of a list of jobs, as a task of a Slurm array: sbatch --array=1-8 examples/batch/run_shard.sh
# `SHARDS=8 sbatch --array=3 examples/batch/run_shard.sh` does the third of eight parts again.
# `python -m scripts.batch jobs.yaml` afterwards does what is missing, and reports on all.
#SBATCH --cpus-per-task=8
set -eu
"${PYTHON:-.venv/bin/python}" -m scripts.batch "${JOBS:-jobs.yaml}" \
    --shard "${SLURM_ARRAY_TASK_ID:-1}/${SHARDS:-${SLURM_ARRAY_TASK_COUNT:-1}}" "$@"
