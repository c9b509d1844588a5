#!/bin/sh
# Animate the picture of a case by its skeletons, with the original's settings.
set -eu
CASE="${CASE:-inference/case-1}"
WEIGHTS="${WEIGHTS:-pretrained_weights/stable_animator}"
"${PYTHON:-.venv/bin/python}" -m scripts.stable_animator \
    --pretrained_model_name_or_path="$WEIGHTS/stable-video-diffusion-img2vid-xt" \
    --output_dir="${OUTPUT:-basic_infer}" \
    --validation_control_folder="$CASE/poses" \
    --validation_image="$CASE/reference.png" \
    --width=576 \
    --height=1024 \
    --guidance_scale=3.0 \
    --num_inference_steps=25 \
    --posenet_model_name_or_path="$WEIGHTS/Animation/pose_net.pth" \
    --face_encoder_model_name_or_path="$WEIGHTS/Animation/face_encoder.pth" \
    --unet_model_name_or_path="$WEIGHTS/Animation/unet.pth" \
    --faces="$WEIGHTS" \
    --tile_size=16 \
    --frames_overlap=4 \
    --noise_aug_strength=0.02 \
    --decode_chunk_size=4 \
    "$@"
