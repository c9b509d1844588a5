"""StableAnimator in int8: both of its calls run in one export, near to eager mode."""

import pytest

from ppdiffusers_ext.engine.decibels import signal_to_noise
from tests.pipelines.stable_animator.test_pipeline import call, pipeline

__all__ = ["pipeline"]  # a fixture


@pytest.mark.long
def test_a_clip_in_int8_is_near_to_eager_mode(pipeline, tmp_path, caplog):
    options = {"num_inference_steps": 2, "output_type": "latent"}
    expected = call(pipeline, 3, **options)
    pipeline.use_engine("openvino", tmp_path, weights="int8")
    try:
        given = call(pipeline, 3, **options)
    finally:
        pipeline.use_engine()
    assert "AnimationUNet.denoise in int8: " in caplog.text
    assert 20 < signal_to_noise(given.numpy(), expected.numpy()) < 100
