#!/bin/sh
# Train at 512x512, with the original's settings.
set -eu
DATA="${DATA:-animation_data}"
VALIDATION="${VALIDATION:-validation}"
WEIGHTS="${WEIGHTS:-pretrained_weights/stable_animator}"
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_stable_animator.py \
    --pretrained_model_name_or_path="$WEIGHTS/stable-video-diffusion-img2vid-xt" \
    --faces_path="$WEIGHTS" \
    --face_cache="$DATA/face_embeddings" \
    --output_dir="${OUTPUT:-exp_output/stable_animator_single}" \
    --data_root_path="$DATA" \
    --data_path="$DATA/video_path.txt" \
    --dataset_width=512 \
    --dataset_height=512 \
    --validation_image_folder="$VALIDATION/ground_truth" \
    --validation_control_folder="$VALIDATION/poses" \
    --validation_image="$VALIDATION/reference.png" \
    --validation_clips=0 \
    --num_workers=8 \
    --sample_n_frames=16 \
    --learning_rate=1e-5 \
    --per_gpu_batch_size=1 \
    --max_train_steps=30000 \
    --mixed_precision=fp16 \
    --gradient_accumulation_steps=1 \
    --checkpointing_steps=2000 \
    --validation_steps=500 \
    --gradient_checkpointing \
    --checkpoints_total_limit=2 \
    --resume_from_checkpoint=latest \
    "$@"
