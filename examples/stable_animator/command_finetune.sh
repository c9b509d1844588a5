#!/bin/sh
# Go on from the released weights, at two sizes, with the original's settings.
set -eu
DATA="${DATA:-animation_data}"
VALIDATION="${VALIDATION:-validation}"
WEIGHTS="${WEIGHTS:-pretrained_weights/stable_animator}"
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_stable_animator.py \
    --pretrained_model_name_or_path="$WEIGHTS/stable-video-diffusion-img2vid-xt" \
    --finetune_mode=True \
    --posenet_model_finetune_path="$WEIGHTS/Animation/pose_net.pth" \
    --face_encoder_finetune_path="$WEIGHTS/Animation/face_encoder.pth" \
    --unet_model_finetune_path="$WEIGHTS/Animation/unet.pth" \
    --faces_path="$WEIGHTS" \
    --face_cache="$DATA/face_embeddings" \
    --output_dir="${OUTPUT:-exp_output/stable_animator_finetuned}" \
    --data_root_path="$DATA" \
    --rec_data_path="$DATA/video_rec_path.txt" \
    --vec_data_path="$DATA/video_vec_path.txt" \
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
