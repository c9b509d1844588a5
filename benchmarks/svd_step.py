"""Seconds and memory of one call of StableAnimator's full-size UNet, beside Stable Video Diffusion's in torch.

    python -m benchmarks svd_step
    PEER_PYTHON=/path/to/python python -m benchmarks svd_step --json svd_step.json

The network is Stable Video Diffusion's UNet with the face ID adapter (1.5 G random parameters) on one clip of 8 frames
of 32x32 latents (256x256 pixels), one token of the picture and four of the face. Each contestant is built and measured
in a process of its own, one after the other, and with --rounds again and again. Seconds are the median of the repeats
after a warm-up call, without building; memory is the peak of the whole process. Other work on the machine distorts
this: compare within one run on a quiet machine. By estimate it takes 20 GB of disk and half an hour on two cores.

    ours                  ppdiffusers_ext's AnimationUNet from a checkpoint, fp32, in the first of --engines: the
                          conditional call of a window, with the step's and the pose's part
    ours_unconditional    the other call of a window, which sees no picture, no face and no pose: zeros, in an engine
    ours_ENGINE           the same as ours in the other engines; eager is Paddle without an engine,
                          openvino_bf16 computes in bf16, openvino_int8 in int8 and the rest in bf16
    diffusers_UNetSpatioTemporalConditionModel
                          diffusers' network of the same shape in torch, if PEER_PYTHON names a Python that has torch
                          and diffusers; fp32, and with _bf16 in bf16. It has no adapter and no pose: it does less.

An engine exports the network once; that takes place in an earlier process, whose seconds are in the JSON. What bf16
and int8 cost is the ratio of signal to noise of the result, against that of the same network in fp32, in decibels.
"""

from benchmarks import step

PEER = "diffusers_UNetSpatioTemporalConditionModel"
TORCH_PEERS = (PEER, f"{PEER}_bf16")
MAX_FRAMES = 128


def add_arguments(parser):
    step.add_arguments(parser, TORCH_PEERS, MAX_FRAMES)


def compete(options):
    step.check(options)
    settings = {
        "repeats": options.repeats,
        "threads": options.threads,
        "sample": [1, options.frames, 8, options.size, options.size],
        "dtype": "float32",
        "network": SMALL_UNET if options.small else UNET,
    }
    return step.compete(options, settings, "svd_networks", ("ours", "ours_unconditional"))


UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
}
SMALL_UNET = {
    "block_out_channels": [32, 32, 64, 64],
    "cross_attention_dim": 64,
    "num_attention_heads": [1, 1, 2, 2],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
