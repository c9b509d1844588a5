#!/bin/sh
# Train V4's transformer with the original's settings; DATA is a folder with metadata.json.
set -eu
DATA="${DATA:-datasets/internal_datasets}"
WEIGHTS="${WEIGHTS:-pretrained_weights/Diffusion_Transformer/EasyAnimateV4-XL-2-InP}"
# shellcheck disable=SC2086 # several words
"${PYTHON:-.venv/bin/python}" -u -m scripts.launch ${LAUNCH:---gpus "${GPUS:-0,1,2,3}"} \
    scripts/trainer_easy_animate.py \
    --pretrained_model_name_or_path="$WEIGHTS" \
    --train_data_dir="$DATA" \
    --train_data_meta="$DATA/metadata.json" \
    --image_sample_size=512 --video_sample_size=512 --token_sample_size=512 \
    --video_sample_stride=1 --video_sample_n_frames=144 --train_batch_size=1 --video_repeat=1 \
    --gradient_accumulation_steps=1 --dataloader_num_workers=8 --num_train_epochs=100 --checkpointing_steps=500 \
    --learning_rate=2e-5 --lr_scheduler=constant_with_warmup --lr_warmup_steps=100 --seed=42 \
    --output_dir="${OUTPUT:-exp_output/easy_animate_v4}" --mixed_precision=bf16 --gradient_checkpointing \
    --adam_weight_decay=3e-2 --adam_epsilon=1e-10 --vae_mini_batch=1 --max_grad_norm=0.05 \
    --random_hw_adapt --training_with_video_token_length --motion_sub_loss --not_sigma_loss \
    --random_frame_crop --enable_bucket --train_mode=inpaint --trainable_modules . "$@"
