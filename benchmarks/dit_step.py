"""Seconds and memory of one call of EasyAnimate V4's transformer at a quarter of its width, beside the same in torch.

    PEER_PYTHON=/path/to/python python -m benchmarks dit_step --json dit_step.json

The network has the form for inpainting with CLIP's tokens, all 40 blocks, and 4 of 16 heads (88 channels each), on 24
frames of 384x672 pixels: 6,048 tokens, latents 4x6x48x84. Weights are random. Each contestant is built and measured
in a process of its own, one after the other, and with --rounds again and again. Seconds are the median of the repeats
after a warm-up call, without building; memory is the peak of the whole process. Other work on the machine distorts
this: compare within one run on a quiet machine.

    ours                  ppdiffusers_ext's HunyuanTransformer3D in the first of --engines, as a pipeline calls it:
                          what follows from texts and pictures is there already
    ours_ENGINE           the same in the other engines; eager is Paddle without an engine,
                          openvino_bf16 computes in bf16, openvino_int8 in int8 and the rest in bf16
    torch_sdpa            the same network of the same weights in torch with scaled_dot_product_attention, if
                          PEER_PYTHON names a Python that has torch and safetensors; fp32, and with _bf16 in bf16. It
                          is given what ours has prepared of texts and pictures. A run in which both in fp32 differ
                          by more than a thousandth of the largest number ends in an error.

An engine exports the network once; that takes place in an earlier process, whose seconds are in the JSON. What bf16
and int8 cost is the ratio of signal to noise of the result, against that of the same network in fp32, in decibels.
"""

from benchmarks import step
from ppdiffusers_ext.errors import InputError

TORCH_PEERS = ("torch_sdpa", "torch_sdpa_bf16")
ENGINES = ("openvino_bf16", "openvino", "openvino_int8")
SIZE, SMALL_SIZE = (6, 48, 84), (2, 8, 8)


def add_arguments(parser):
    step.add_common_arguments(parser, TORCH_PEERS, ENGINES)
    parser.add_argument("--layers", type=int, default=40, metavar="N", help="blocks, an even number (default 40)")


def compete(options):
    step.check_common(options)
    if options.layers < 2 or options.layers % 2:
        raise InputError(f"--layers {options.layers} does not fit the network; an even number from 2 on is accepted")
    settings = {
        "repeats": options.repeats,
        "threads": options.threads,
        "size": SMALL_SIZE if options.small else SIZE,
        "dtype": "float32",
        "network": {**(SMALL if options.small else QUARTER), "num_layers": options.layers},
    }
    return step.compete(options, settings, "dit_networks", ("ours",), same_weights=True)


QUARTER = {"num_attention_heads": 4, "attention_head_dim": 88, "hidden_size": 352}
SMALL = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "hidden_size": 32,
    "cross_attention_dim": 32,
    "cross_attention_dim_t5": 32,
    "pooled_projection_dim": 32,
    "projection_dim": 24,
    "text_len": 5,
    "text_len_t5": 7,
}
