"""The metrics that protocols are made of: what each is called, which network it needs, and which end is better.

Keys that a network made are labelled by it, so that nobody compares numbers of two networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown, suggestion

PAIRED, DISTRIBUTION, PERSON = "paired", "distribution", "person"
HIGHER, LOWER = "higher", "lower"
# Metrics by what they need, for `--metrics`.
ALL, EMBEDDED = "all", "embedded"
GROUPS = (ALL, PAIRED, DISTRIBUTION, PERSON, EMBEDDED)


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        name: key of files.
        title: head of its column.
        kind: "paired" (frame by frame against the truth), "distribution" (of all clips together), or "person"
            (identity, poses and drift against the truth's first frame).
        better: "higher", "lower", or "" where neither end is.
        digits: behind the point, where it is printed.
        network: key of `networks.NETWORKS` whose weights are not of the package; "" for none. Of a distance the
            protocol names it.
        by: name of a network that ships with the package; "" for none.
        least_frames, most_frames: that the network takes at once.
    """

    name: str
    title: str
    kind: str
    better: str
    digits: int
    network: str = ""
    by: str = ""
    least_frames: int = 1
    most_frames: int = 1024


_FOUND_BY = "embedded pose networks"
_ALL = (
    Metric("psnr", "PSNR dB", PAIRED, HIGHER, 2),
    Metric("ssim", "SSIM", PAIRED, HIGHER, 4),
    Metric("l1", "L1", PAIRED, LOWER, 4),
    Metric("flicker", "flicker", PAIRED, LOWER, 3),
    Metric("disco_psnr", "disco PSNR", PAIRED, HIGHER, 2),
    Metric("disco_psnr_overflow", "disco PSNR overflow", PAIRED, "", 2),
    Metric("disco_ssim", "disco SSIM", PAIRED, HIGHER, 4),
    Metric("disco_l1", "disco L1", PAIRED, LOWER, 8),
    Metric("lpips_alex", "LPIPS alex", PAIRED, LOWER, 4, "lpips_alex"),
    Metric("lpips_vgg", "LPIPS vgg", PAIRED, LOWER, 4, "lpips_vgg"),
    Metric("disco_lpips", "disco LPIPS", PAIRED, LOWER, 4, "lpips_vgg"),
    Metric("fid", "FID", DISTRIBUTION, LOWER, 2, most_frames=1),
    Metric("fid_vid", "FID-VID", DISTRIBUTION, LOWER, 2),
    Metric("fvd", "FVD", DISTRIBUTION, LOWER, 2, least_frames=9),
    Metric("csim_mobileface", "csim mobileface", PERSON, HIGHER, 3, by="mobileface"),
    Metric("csim_arcface", "csim arcface", PERSON, HIGHER, 3, "arcface", by=_FOUND_BY),
    Metric("akd_pixels", "AKD px", PERSON, LOWER, 2, by=_FOUND_BY),
    Metric("akd_of_body", "AKD/body", PERSON, LOWER, 4, by=_FOUND_BY),
    Metric("mkr", "missing joints", PERSON, LOWER, 4, by=_FOUND_BY),
    Metric("pckh_0.5", "PCKh@0.5", PERSON, HIGHER, 4, by=_FOUND_BY),
    Metric("delta_e", "delta E", PERSON, LOWER, 2),
    Metric("delta_e_per_100_frames", "drift/100", PERSON, LOWER, 2),
    Metric("sharpness", "sharpness", PERSON, "", 3),
    Metric("flicker_second_difference", "flicker 2nd", PERSON, LOWER, 3),
)
METRICS = {metric.name: metric for metric in _ALL}


def choose_metrics(text: str, known: Sequence[Metric], where: str) -> list[Metric]:
    """The metrics that a user names, in the order of `known`.

    Args:
        text: names and `GROUPS`, with commas between them.
        known: those that there are to choose from.
        where: what has them, for messages.

    Raises:
        InputError: a name that is none of these.
    """
    chosen: set[str] = set()
    names = [metric.name for metric in known]
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word not in (*names, *GROUPS):
            raise InputError(f"{where} has no metric {shown(word)}; {suggestion(word, [*names, *GROUPS])}")
        chosen |= {metric.name for metric in known if word in (metric.name, metric.kind, ALL) or _is(word, metric)}
    if not chosen:
        raise InputError(f"--metrics {shown(text)} names none of {where}; {', '.join(names)} are accepted")
    return [metric for metric in known if metric.name in chosen]


def _is(word: str, metric: Metric) -> bool:
    return word == EMBEDDED and not metric.network
