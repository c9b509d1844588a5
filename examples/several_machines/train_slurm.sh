#!/bin/sh
# Train on several machines with Slurm, from the top of a checkout that they share:
#     sbatch --nodes=4 examples/several_machines/train_slurm.sh --output_dir exp_output/stage1
# Outside of Slurm it trains on this machine. A job that loses a machine is put back into the queue, and goes on from the
# newest checkpoint.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu
export PYTHON="${PYTHON:-.venv/bin/python}" LAUNCH="${LAUNCH:---gpus 0,1,2,3}"
export TRAINER="${TRAINER:-scripts/trainer_stage1.py}" CONFIG="${CONFIG:-configs/training/stage1.yaml}"
if [ -n "${SLURM_JOB_ID:-}" ]; then
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    export MASTER="$first:$((20000 + SLURM_JOB_ID % 10000))" # another port for each job
fi
# shellcheck disable=SC2016 # of the task on each machine, which knows its number
task='exec "$PYTHON" -u -m scripts.launch --nnodes "${SLURM_NNODES:-1}" --rank "${SLURM_NODEID:-0}" \
    --master "${MASTER:-localhost:6170}" --max_restart 3 $LAUNCH "$TRAINER" "$CONFIG" "$@"'
${SLURM_JOB_ID:+srun} sh -c "$task" sh "$@"
