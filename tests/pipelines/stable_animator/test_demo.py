"""What the numbers of a small StableAnimator come to."""

import pytest

from ppdiffusers_ext.pipelines.stable_animator.demo import IDENTITY, MODEL, OPTIMISED, REPEATED, WITHOUT_FACE, summary


def test_summary_is_of_means_over_the_clips():
    def scores(model, optimised, without, repeated):
        pairs = {MODEL: model, OPTIMISED: optimised, WITHOUT_FACE: without, REPEATED: repeated}
        return {way: {"psnr": psnr, IDENTITY: identity} for way, (psnr, identity) in pairs.items()}

    first = scores((20, 0.5), (19, 0.7), (18, 0.2), (10, 0.1))
    second = scores((22, 0.7), (21, 0.8), (20, 0.4), (14, 0.3))
    result = summary([first, second])
    assert result["psnr_above_reference"] == pytest.approx(21 - 12)
    assert result["identity_optimised"] == pytest.approx(0.15)
    assert result["identity_without_face"] == pytest.approx(-0.3)
