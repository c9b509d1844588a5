#!/bin/sh
# The same with the face optimised while denoising. Masks of the case are taken where there are any.
set -eu
CASE="${CASE:-inference/case-1}"
WEIGHTS="${WEIGHTS:-pretrained_weights/stable_animator}"
[ ! -f "$CASE/reference_mask.png" ] || set -- --validation_image_mask="$CASE/reference_mask.png" "$@"
[ ! -d "$CASE/faces" ] || set -- --validation_control_mask_folder="$CASE/faces" "$@"
"${PYTHON:-.venv/bin/python}" -m scripts.stable_animator --optimize-face \
    --pretrained_model_name_or_path="$WEIGHTS/stable-video-diffusion-img2vid-xt" \
    --output_dir="${OUTPUT:-op_infer}" \
    --validation_control_folder="$CASE/poses" \
    --validation_image="$CASE/reference.png" \
    --width=512 \
    --height=512 \
    --guidance_scale=3.0 \
    --num_inference_steps=25 \
    --posenet_model_name_or_path="$WEIGHTS/Animation/pose_net.pth" \
    --face_encoder_model_name_or_path="$WEIGHTS/Animation/face_encoder.pth" \
    --unet_model_name_or_path="$WEIGHTS/Animation/unet.pth" \
    --face_embedding_extractor_weight_path="$WEIGHTS/Animation/glintr100_torch.pth" \
    --faces="$WEIGHTS" \
    --num_optimization_iter=3 \
    --start_refine_step=0 \
    --end_refine_step=20 \
    --noise_aug_strength=0.02 \
    --frames_overlap=4 \
    "$@"
