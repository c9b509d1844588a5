"""Seconds and memory of the networks that metrics are made of, beside the originals in torch.

    PEER_PYTHON=/path/to/python python -m benchmarks metrics --json metrics.json

One call of each: LPIPS of two pictures of 256x256 by AlexNet and by VGG16, FID's Inception of a picture of 299x299,
I3D of 16 frames of 224x224, and the 3-D ResNet of 16 frames of 112x112. Weights are random, and the same for all. Each
contestant is built and measured in a process of its own, one after the other, and with --rounds again and again.
Seconds are the median of the repeats after a warm-up call. Other work on the machine distorts this: compare within one
run on a quiet machine.

    ours            in the first of --engines, which is what scripts.evaluate runs it in
    ours_ENGINE     in the other engines; eager is Paddle without an engine, openvino_bf16 computes in bf16
    torch           lpips and pytorch-fid of PEER_PYTHON; the others as their repositories have them, written in torch
    torch_bf16      the same in bf16

Networks in fp32 that differ by more than a thousandth of the largest number end the run in an error. What bf16 costs
is the ratio of signal to noise of the features. `ours` and `peers` of the JSON are sums over the networks; `networks`
has each by itself.
"""

from benchmarks import harness, step

NETWORKS = ("lpips_alex", "lpips_vgg", "inception_fid", "i3d_fvd", "resnet3d_fidvid")
PEERS = ("torch", "torch_bf16")
ENGINES = ("openvino", "openvino_bf16", "eager")
PACKAGES = ("torch", "lpips", "pytorch_fid")


def add_arguments(parser):
    step.add_common_arguments(parser, PEERS, ENGINES)
    parser.set_defaults(repeats=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="(default: all)")


def compete(options):
    step.check_common(options)
    networks = {}
    for name in options.networks:
        settings = {
            "network": name,
            "repeats": options.repeats,
            "threads": options.threads,
            "small": options.small,
            "dtype": "float32",
        }
        print(f"\n{name}")
        networks[name] = step.compete(
            options, settings, "metric_networks", ("ours",), same_weights=True, packages=PACKAGES
        )
    ours = _sum([fields["ours"] for fields in networks.values()])
    names = list(next(iter(networks.values()))["peers"])
    peers = {name: _sum([fields["peers"][name] for fields in networks.values()]) for name in names}
    return harness.result(ours, peers, networks=networks, settings={"networks": list(networks)})


def _sum(rows):
    """One call of each network, and the highest peak."""
    return {"seconds": sum(row["seconds"] for row in rows), "peak_bytes": max(row["peak_bytes"] for row in rows)}
