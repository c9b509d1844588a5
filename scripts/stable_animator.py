"""Animate a picture of a person with StableAnimator.

    python -m scripts.stable_animator --validation_image inference/case-1/reference.png \\
        --validation_control_folder inference/case-1/poses --output_dir out

The skeletons are a folder of pictures or a video, such as scripts.skeleton_extraction makes. Writes into the output
folder animated_images/frame_0.png and so on, animated_images.gif and animated_images.mp4; with --optimize-face also
face_optimization.json, loss and cosines of every step; with --report identity.json. Pictures that are there
already are never replaced: another folder is asked for.
"""

import sys

from .command import ArgumentParser, run

ROOT = "pretrained_weights/stable_animator"

# option, field of the configuration, type, default, help
_OPTIONS = (
    ("--pretrained_model_name_or_path", "svd", str, f"{ROOT}/stable-video-diffusion-img2vid-xt", "folder of SVD"),
    ("--unet_model_name_or_path", "unet", str, f"{ROOT}/Animation/unet.pth", "weights of the UNet"),
    ("--posenet_model_name_or_path", "pose_net", str, f"{ROOT}/Animation/pose_net.pth", "weights of the pose net"),
    ("--face_encoder_model_name_or_path", "face_encoder", str, f"{ROOT}/Animation/face_encoder.pth", "its weights"),
    ("--faces", "faces", str, ROOT, "folder in which models/antelopev2 has the networks that find faces"),
    ("--face_embedding", "embedding", str, None, ".npy file of the face's embedding, which is not looked for then"),
    ("--width", "width", int, 512, "pixels, a multiple of 64"),
    ("--height", "height", int, 512, "pixels, a multiple of 64"),
    ("--guidance_scale", "guidance_scale", float, 3.0, "1 is without guidance, in half the time"),
    ("--num_inference_steps", "steps", int, 25, "denoising steps"),
    ("--tile_size", "tile_size", int, 16, "frames that are denoised together"),
    ("--frames_overlap", "overlap", int, 4, "frames that windows share, and one"),
    ("--noise_aug_strength", "noise", float, 0.02, "of noise on the picture"),
    ("--decode_chunk_size", "chunk_size", int, 4, "frames that are decoded together"),
    ("--seed", "seed", int, 23123134, "of the noise; -1 draws one"),
    ("--fps", "fps", float, 8, "frames per second of the videos"),
    ("--device", "device", str, "auto", "auto, cpu, gpu or gpu:N"),
    ("--dtype", "dtype", str, "fp32", "fp32, bf16 or fp16"),
    ("--engine", "engine", str, "eager", "auto, eager, onnx or openvino: what runs the networks"),
    ("--engine-cache", "engine_cache", str, None, "folder of exports (default: the user's cache folder)"),
    ("--preset", "preset", str, "exact", "exact, balanced, fast or a YAML file: what speed may cost"),
    ("--step-cache-interval", "step_cache_interval", int, None, "the whole network every N-th step (default: preset)"),
    ("--step-cache-depth", "step_cache_depth", int, None, "units that run in the other steps (default: preset)"),
    ("--memory", "memory", str, "high", "high, medium, low or minimal: which networks are kept, and in what"),
    ("--vae-device", "vae_device", str, None, "where frames are decoded, such as cpu (default: as --device)"),
    ("--resize", "resize", str, "fit", "of a picture of another shape: fit stretches it, crop and pad keep its own"),
    ("--face-channels", "channels", str, "rgb", "rgb, as released weights expect, or bgr, as they were trained"),
)
_REFINEMENT = (
    ("--face_embedding_extractor_weight_path", "recognizer", str, f"{ROOT}/Animation/glintr100_torch.pth", "weights"),
    ("--validation_image_mask", "picture_mask", str, None, "white where the picture's face is; found if left out"),
    ("--validation_control_mask_folder", "masks", str, None, "of the video's size; from the skeletons if left out"),
    ("--num_optimization_iter", "iterations", int, 3, "of each step"),
    ("--start_refine_step", "first_step", int, 0, "the first that is refined, from 0"),
    ("--end_refine_step", "last_step", int, None, "the last; 20, or the last one of fewer, if left out"),
)


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.stable_animator", description=__doc__, reads_checkpoints=True)
    parser.add_argument("--validation_image", required=True, metavar="FILE", help="picture of the person")
    parser.add_argument("--validation_control_folder", required=True, metavar="DIR", help="of skeletons, or a video")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="folder to write")
    for option, field, kind, default, text in _OPTIONS:
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(option, dest=field, type=kind, default=default, help=f"{text}{shown}")
    parser.add_argument(
        "--guidance-interval",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="part of the steps with guidance; the others take half the time (default: preset)",
    )
    group = parser.add_argument_group("face optimisation, with --optimize-face")
    group.add_argument("--optimize-face", action="store_true", help="make faces more like the picture's in every step")
    for option, field, kind, default, text in _REFINEMENT:
        shown = "" if default is None else f" (default: {default})"
        group.add_argument(option, dest=field, type=kind, default=default, help=f"{text}{shown}")
    parser.add_argument("--ignore-memory", action="store_true", help="begin even if memory will probably not do")
    parser.add_argument("--report", action="store_true", help="write how like the picture's face those in frames are")
    parser.add_argument("--no-anchor", action="store_true", help="windows do not begin with the clip's first frame")
    parser.add_argument("--own-noise", action="store_true", help="each frame has its own noise, not a window's again")
    parser.add_argument("--no-face", action="store_true", help="look for no face in the picture")
    # The original has them; its windows overlap by --frames_overlap, and gradients are always computed in parts.
    for option in ("--overlap", "--batch_frames", "--max_frame_num"):
        parser.add_argument(option, dest="unused", type=int, help="without effect, as in the original")
    parser.add_argument("--gradient_checkpointing", action="store_true", help="without effect: always on")
    return parser


def work(options):
    """Animate, and print where the results are."""
    from ppdiffusers_ext.pipelines.stable_animator.run import animate

    results = animate(read_config(options))
    print(f"pictures  {results.pictures}\ngif       {results.gif}\nvideo     {results.video}")
    if results.optimization is not None:
        print(f"faces     {results.optimization}")
    if results.report is not None:
        print(f"report    {results.report}: {results.identity}")


def read_config(options):
    """The `StableAnimationConfig` that the options of `make_parser` ask for."""
    from ppdiffusers_ext.options import check_values
    from ppdiffusers_ext.pipelines.stable_animator.faces import RefinementConfig
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig

    given = {field: getattr(options, field) for _, field, *_ in _OPTIONS}
    check_values(StableAnimationConfig, given, names={field: option for option, field, *_ in _OPTIONS})
    if options.no_face:
        given["faces"] = None
    refinement = None
    if options.optimize_face:
        of_faces = {field: getattr(options, field) for _, field, *_ in _REFINEMENT}
        check_values(RefinementConfig, of_faces, names={field: option for option, field, *_ in _REFINEMENT})
        refinement = RefinementConfig(**of_faces)
    return StableAnimationConfig(
        **given,
        image=options.validation_image,
        poses=options.validation_control_folder,
        output=options.output_dir,
        guidance_interval=options.guidance_interval,
        ignore_memory=options.ignore_memory,
        anchored=not options.no_anchor,
        repeats_noise=not options.own_noise,
        refinement=refinement,
        reports=options.report,
    )


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
