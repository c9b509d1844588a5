"""Commands and YAML files as the originals' pages have them are understood as they stand, but for where files are.

Facts about the keys and flags: MooreThreads/Moore-AnimateAnyone, PaddleMIX (ppdiffusers/examples/AnimateAnyone),
Francis-Rings/StableAnimator and aigc-apps/EasyAnimate.
"""

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import by_field, check_values
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.training.parser import make_parser, read_options
from ppdiffusers_ext.training.trainers import TRAINERS
from scripts.options import given_options
from tests.support.parsers import config_of, parser_of

MOORE = {
    "pretrained_base_model_path": "./pretrained_weights/stable-diffusion-v1-5/",
    "pretrained_vae_path": "./pretrained_weights/sd-vae-ft-mse",
    "image_encoder_path": "./pretrained_weights/image_encoder",
    "denoising_unet_path": "./pretrained_weights/denoising_unet.pth",
    "reference_unet_path": "./pretrained_weights/reference_unet.pth",
    "pose_guider_path": "./pretrained_weights/pose_guider.pth",
    "motion_module_path": "./pretrained_weights/motion_module.pth",
    "inference_config": "./configs/inference/inference_v2.yaml",
    "weight_dtype": "fp16",
    "test_cases": {"./ref_images/anyone-2.png": ["./pose_videos/anyone-video-2_kps.mp4", "./pose_videos/5_kps.mp4"]},
}
PADDLEMIX = {
    **MOORE,
    "pretrained_base_model_path": "runwayml/stable-diffusion-v1-5",
    "pretrained_vae_path": "stabilityai/sd-vae-ft-mse",
    "image_encoder_path": "lambdalabs/sd-image-variations-diffusers/image_encoder",
    "denoising_unet_config_path": "./pretrained_weights/tsaiyue/AnimateAnyone_PD/config.json",
    "denoising_unet_path": "./pretrained_weights/tsaiyue/AnimateAnyone_PD/denoising_unet.pdparams",
}
STABLE = """
    --pretrained_model_name_or_path=path/checkpoints/stable-video-diffusion-img2vid-xt --output_dir=path/basic_infer
    --validation_control_folder=path/your_case/poses --validation_image=path/your_case/reference.png
    --width=576 --height=1024 --guidance_scale=3.0 --num_inference_steps=25
    --posenet_model_name_or_path=path/Animation/pose_net.pth
    --face_encoder_model_name_or_path=path/Animation/face_encoder.pth
    --unet_model_name_or_path=path/Animation/unet.pth
    --tile_size=16 --overlap=4 --noise_aug_strength=0.02 --frames_overlap=4 --decode_chunk_size=4
    --gradient_checkpointing
"""
FACES = """
    --face_embedding_extractor_weight_path=path/glintr100_torch.pth --num_optimization_iter=5 --start_refine_step=1
    --end_refine_step=7 --validation_image_mask=path/mask.png --validation_control_mask_folder=path/faces
    --optimize_face
"""


@pytest.fixture
def animation(tmp_path):
    def write(values):
        (tmp_path / "animation.yaml").write_text(yaml.safe_dump(values))
        return str(tmp_path / "animation.yaml")

    return write


@pytest.mark.parametrize(
    ("values", "words", "size", "length"),
    [(MOORE, "-W 512 -H 784 -L 64", (512, 784), 64), (PADDLEMIX, "-W 600 -H 784 -L 120", (600, 784), 120)],
    ids=["Moore", "PaddleMIX"],
)
def test_command_and_file_of_animate_anyone(values, words, size, length, animation):
    more = "--seed 7 --cfg 2.5 --steps 20 --fps 24"
    options = parser_of("pose2vid").parse_args(["--config", animation(values), *words.split(), *more.split()])
    config = config_of("pose2vid", options)
    assert (config.width, config.height, config.num_frames) == (*size, length)
    assert (config.seed, config.guidance_scale, config.num_inference_steps, config.fps) == (7, 2.5, 20, 24)
    assert config.dtype == "fp16"
    assert config.cases == [(picture, pose) for picture, poses in values["test_cases"].items() for pose in poses]
    names = {"weight_dtype", "test_cases"}
    assert all(getattr(config, name) == value for name, value in values.items() if name not in names)


def test_command_of_stable_animator():
    config = config_of("stable_animator", parser_of("stable_animator").parse_args(STABLE.split()))
    assert (config.width, config.height, config.guidance_scale, config.num_inference_steps) == (576, 1024, 3.0, 25)
    assert (config.context_frames, config.context_overlap, config.noise_aug_strength) == (16, 4, 0.02)
    assert (config.svd, config.unet) == (
        "path/checkpoints/stable-video-diffusion-img2vid-xt",
        "path/Animation/unet.pth",
    )
    assert (config.pose_net, config.face_encoder) == ("path/Animation/pose_net.pth", "path/Animation/face_encoder.pth")
    assert (config.reference_image, config.pose_video) == (
        "path/your_case/reference.png",
        "path/your_case/poses",
    )
    assert (config.output, config.decode_chunk_size, config.refinement) == ("path/basic_infer", 4, None)


def test_command_of_stable_animator_with_face_optimisation():
    options = parser_of("stable_animator").parse_args([*STABLE.split(), *FACES.split()])
    refinement = config_of("stable_animator", options).refinement
    assert (refinement.recognizer, refinement.iterations) == ("path/glintr100_torch.pth", 5)
    assert (refinement.first_step, refinement.last_step) == (1, 7)
    assert (refinement.picture_mask, refinement.masks) == ("path/mask.png", "path/faces")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vid2pose", "--video_path /path/to/your/video.mp4"),
        ("extract_dwpose_from_vid", "--video_root /path/to/your/video_dir"),
        ("extract_meta_info", "--root_path /path/to/your/video_dir --dataset_name anyone"),
        ("face_mask_extraction", "--image_folder=path/AnimationDataset/rec/00001/images"),
        (
            "skeleton_extraction",
            "--target_image_folder_path=images --ref_image_path=reference.png --poses_folder_path=path/poses",
        ),
        ("training_skeleton_extraction", "--root_path=path/animation_data --name=rec --start=1 --end=500"),
    ],
    ids=lambda value: value.partition(" ")[0],
)
def test_command_that_prepares_data(name, words):
    options = vars(parser_of(name).parse_args(words.split()))
    for word in words.replace("=", " ").split("--")[1:]:
        option, value = word.split()
        assert str(options[option.replace("-", "_")]) == value


# What the settings are called that users of EasyAnimate's predict_*.py edit inside it.
EASY = {
    "model_name": "models/EasyAnimateV4-XL-2-InP",
    "transformer_path": "a.safetensors",
    "motion_module_path": "b.safetensors",
    "vae_path": "c.safetensors",
    "sampler_name": "Euler",
    "video_length": 144,
    "fps": 24,
    "weight_dtype": "bf16",
    "prompt": "a dog",
    "negative_prompt": "blurred",
    "guidance_scale": 7.0,
    "seed": 43,
    "num_inference_steps": 25,
    "partial_video_length": 72,
    "overlap_video_length": 4,
    "validation_image_start": "start.png",
    "validation_image_end": "end.png",
    "validation_video": "video.mp4",
    "denoise_strength": 0.7,
}


def test_settings_of_easy_animate_are_keys():
    found, used = by_field(EasyAnimateConfig, EASY, "key")
    check_values(EasyAnimateConfig, found, names=used)
    assert (found["model"], found["scheduler"], found["num_frames"]) == (EASY["model_name"], "Euler", 144)
    assert (found["segment"], found["overlap"], found["strength"]) == (72, 4, 0.7)
    assert (found["start_image"], found["end_image"], found["video"]) == ("start.png", "end.png", "video.mp4")


def test_mistake_is_told_by_the_name_that_was_used(animation):
    with pytest.raises(InputError, match=r"weight_dtype in .*animation.yaml 'fp8' is not known"):
        Pose2VidConfig.load(animation({**MOORE, "weight_dtype": "fp8"}))
    options = parser_of("pose2vid").parse_args(["--config", animation(MOORE), "--cfg", "many"])
    with pytest.raises(InputError, match="--cfg is 'many'"):
        given_options(options.given, Pose2VidConfig, Job)


# All flags of the training scripts of EasyAnimate V1 to V4 (scripts/train*.py), of LoRA's and LCM-LoRA's, too.
EASY_FLAGS = """
    abnormal_norm_clip_start adam_beta1 adam_beta2 adam_epsilon adam_weight_decay allow_tf32 cache_dir
    caption_column center_crop checkpointing_steps checkpoints_total_limit config_path dataloader_num_workers
    dataset_config_name dataset_name enable_bucket enable_text_encoder_in_dataloader
    enable_xformers_memory_efficient_attention gradient_accumulation_steps gradient_checkpointing hub_model_id
    hub_token huber_c image_column image_repeat_in_forward image_sample_size initial_grad_norm_ratio
    input_perturbation keep_all_node_same_token_length learning_rate local_rank logging_dir lora_alpha
    lora_dropout lora_rank lora_target_modules loss_type low_vram lr_scheduler lr_warmup_steps max_grad_norm
    max_train_samples max_train_steps mixed_precision motion_module_path motion_sub_loss motion_sub_loss_ratio
    multi_stream network_alpha noise_offset noise_share_in_frames noise_share_in_frames_ratio non_ema_revision
    not_sigma_loss num_ddim_timesteps num_train_epochs output_dir prediction_type pretrained_model_name_or_path
    push_to_hub random_flip random_frame_crop random_hw_adapt random_ratio_crop rank report_model_info report_to
    resolution resume_from_checkpoint revision sample_n_frames sample_size sample_stride save_state scale_lr seed
    snr_gamma snr_loss timestep_scaling_factor token_sample_size tokenizer_max_length tracker_project_name
    train_batch_size train_data_dir train_data_format train_data_meta train_mode train_sampling_steps
    train_text_encoder trainable_modules trainable_modules_low_learning_rate training_with_video_token_length
    transformer_path use_8bit_adam use_came use_deepspeed use_ema vae_mini_batch vae_path validation_epochs
    validation_images validation_prompts validation_steps variant video_repeat video_sample_n_frames
    video_sample_size video_sample_stride w_max w_min
"""


@pytest.mark.parametrize("trainer", ["easy_animate", "easy_animate_lora"])
def test_each_flag_of_easy_animates_training_is_taken_or_refused_with_the_reason(trainer):
    kinds = TRAINERS[trainer].kinds
    known = {name.removeprefix("--") for action in make_parser(kinds)._actions for name in action.option_strings}
    untold = []
    for flag in sorted(set(EASY_FLAGS.split()) - known):
        with pytest.raises(InputError) as caught:
            read_options([f"--{flag}=1"], kinds)
        if "there is no option" in str(caught.value):
            untold.append(flag)
    assert untold == []
