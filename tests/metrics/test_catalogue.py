"""Names of metrics: groups, and what is said of unknown ones."""

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.catalogue import METRICS, choose_metrics
from ppdiffusers_ext.metrics.perceptual import PERCEPTUAL
from ppdiffusers_ext.metrics.pixels import PIXELS
from ppdiffusers_ext.metrics.protocol import read_protocol
from ppdiffusers_ext.metrics.results import COLUMNS

DISCO = read_protocol("disco").metrics()


def chosen(text):
    return [metric.name for metric in choose_metrics(text, DISCO, "protocol disco")]


def test_groups_and_names_are_chosen_in_the_protocols_order():
    assert chosen("fvd, disco_ssim") == ["disco_ssim", "fvd"]
    assert chosen("distribution") == ["fid", "fid_vid", "fvd"]
    assert chosen("embedded,fid") == ["disco_ssim", "disco_psnr", "disco_psnr_overflow", "disco_l1", "fid"]
    assert chosen("all") == [metric.name for metric in DISCO]


@pytest.mark.parametrize(
    "text, message",
    [
        ("disco_sim", "protocol disco has no metric 'disco_sim'; did you mean 'disco_ssim'"),
        ("lpips_alex", "protocol disco has no metric 'lpips_alex'"),
        (",", "names none of protocol disco"),
        ("person", "names none of protocol disco"),
    ],
)
def test_unknown_metric_is_named(text, message):
    with pytest.raises(InputError, match=message):
        choose_metrics(text, DISCO, "protocol disco")


def test_every_metric_can_be_computed():
    for metric in METRICS.values():
        if metric.kind == "paired":
            assert metric.name in ({*PIXELS, *PERCEPTUAL, "flicker"})
            assert metric.network == (PERCEPTUAL[metric.name].network if metric.name in PERCEPTUAL else "")
        elif metric.kind == "person" and not metric.name.startswith("csim_"):
            assert metric.name in {key for key, *_ in COLUMNS}
