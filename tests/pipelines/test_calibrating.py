"""Int8 in the pipelines: the shipped models against eager mode, and what becomes of the scheduler and the noise."""

from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.runtime import Runtime

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo():
    """The pipeline of the shipped model, and a function that animates its person in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = Pose2VidConfig.load("configs/inference/demo.yaml")
        pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", "fp32"))
        ((picture, (video, *_)),) = config.test_cases.items()
        picture, poses = read_image(picture), list(read_frames(video, count=2))
    pipeline.set_progress_bar_config(disable=True)
    options = {"width": 64, "height": 64, "num_inference_steps": 3, "guidance_scale": 1.0, "output_type": "np"}
    return pipeline, lambda: pipeline(picture, poses, generator=0, **options).videos


def test_a_clip_of_a_trained_model_is_near_to_eager_mode_and_the_same_again(demo, tmp_path, caplog):
    pipeline, animate = demo
    expected = animate()
    pipeline.use_engine("openvino", tmp_path, weights="int8")
    first = animate()
    assert np.array_equal(animate(), first)  # with the exports at hand
    assert caplog.text.count("int8 is made once for these shapes") == 1
    assert signal_to_noise(first, expected) > 28
    assert not np.allclose(first, expected, atol=1e-4)  # as an export in fp32 would be


def test_weights_in_8_bits_are_refused_before_anything_is_loaded():
    for options in ({"engine": "onnx", "weights": "int8"}, {"weights": "fp8"}):
        for cls in (Pose2VideoPipeline, StableAnimatorPipeline):
            with pytest.raises(InputError, match="weights"):
                cls.from_pretrained(ROOT / "assets" / "demo_model", **options)
