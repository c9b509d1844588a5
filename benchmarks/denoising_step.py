"""Seconds and memory of one denoising call of the full-size network, beside those of public networks.

    python -m benchmarks denoising_step
    PEER_PYTHON=/path/to/python python -m benchmarks denoising_step --json denoising_step.json

The network is Stable Diffusion 1.5's UNet with AnimateDiff's motion modules (1.3 G random parameters) on one clip of 8
frames of 32x32 latents (256x256 pixels) and one token of cross attention. Each contestant is built and measured in a
process of its own, one after the other, and with --rounds again and again, since a machine may be faster at one time
than at another. Seconds are the median of the repeats after a warm-up call, without building; memory is the peak of
the whole process. Other work on the machine distorts this: compare within one run on a quiet machine. By estimate it
takes 15 GB of disk and half an hour on two cores.

    ours                         ppdiffusers_ext's DenoisingUNet3D from a checkpoint, fp32, in the first of --engines
    ours_with_reference          the same with features of a reference picture, which double the keys of each spatial
                                 self-attention: what an animation really costs (without guidance, which doubles it)
    ours_ENGINE                  the same as ours in the other engines; eager is Paddle without an engine, and
                                 openvino_bf16 computes in bf16, openvino_int8 in int8 and the rest in bf16
    ppdiffusers_UNetMotionModel  ppdiffusers' network of the same shape, Paddle eager, with the same threads and MKL
                                 path as ours (ppdiffusers alone would choose slower ones)
    diffusers_UNetMotionModel    diffusers' network of the same shape in torch, if PEER_PYTHON names a Python that has
                                 torch and diffusers; fp32, and as diffusers_UNetMotionModel_bf16 in bf16

An engine exports the network once; that takes place in an earlier process, whose seconds are in the JSON. The peers
have neither reference nor pose features, so the ratios are to ours without them. (Pose features are one addition
behind the first layer, whose cost is not measurable.) What bf16 and int8 cost is the ratio of signal to noise of the
result, against that of the same network in fp32, in decibels.
"""

from benchmarks import step

PADDLE_PEER = "ppdiffusers_UNetMotionModel"
TORCH_PEERS = ("diffusers_UNetMotionModel", "diffusers_UNetMotionModel_bf16")
MAX_FRAMES = 32  # positions of the motion modules


def add_arguments(parser):
    step.add_arguments(parser, TORCH_PEERS, MAX_FRAMES)


def compete(options):
    step.check(options)
    settings = {
        "repeats": options.repeats,
        "threads": options.threads,
        "latents": [1, 4, options.frames, options.size, options.size],
        "encoder_hidden_states": [1, 1, 768],
        "dtype": "float32",
        "block_out_channels": [32, 32, 64, 64] if options.small else [320, 640, 1280, 1280],
        "norm_num_groups": 8 if options.small else 32,
        "motion_max_seq_length": MAX_FRAMES,
    }
    return step.compete(options, settings, "networks", ("ours", "ours_with_reference"), (PADDLE_PEER,))
