"""Fixtures that several folders of tests share: a tiny Animate Anyone of which every layer has a say."""

import ppdiffusers_ext  # noqa: F401, I001 (before paddle: it chooses the fast path)

import gc
import logging
import os
import re
import signal
import tempfile

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers_ext.pipelines import engines

# A shell ignores Ctrl-C for what it runs in the background, and the programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, in all that is started from it as well


# What runs before have exported is not at hand in tests, nor in the processes that they start.
_CACHE = tempfile.TemporaryDirectory(prefix="ppdiffusers_ext-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


def pytest_collection_finish():
    """What was imported and collected stays to the end: garbage collection need not go through it each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Names of tests are the same in each process: those of several compare them."""
    assert [item.nodeid for item in items if re.search(" at 0x[0-9a-f]{6}", item.nodeid)] == []


@pytest.fixture(autouse=True)
def own_log():
    """The project's logger as it was before the test: commands that run in this process set it up for themselves."""
    logger = logging.getLogger("ppdiffusers_ext")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate, logger.level = before


@pytest.fixture(autouse=True)
def eager_by_default(monkeypatch):
    """The engine `auto` is Paddle in this process, unless a test says what else it may be: clips here are small."""
    monkeypatch.setattr(engines, "AUTOMATIC", None)


WIDTHS = (32, 32, 64, 64)
COMMON = {
    "block_out_channels": WIDTHS,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "layers_per_block": 1,
}
MOTION = {
    "use_inflated_groupnorm": True,
    "use_motion_module": True,
    "motion_module_mid_block": True,
    "motion_module_type": "Vanilla",
    "motion_module_kwargs": {
        "num_attention_heads": 4,
        "num_transformer_block": 1,
        "attention_block_types": ("Temporal_Self", "Temporal_Self"),
        "temporal_position_encoding": True,
        "temporal_position_encoding_max_len": 12,
    },
}
# The schedule of the released models.
RELEASED_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def randomise(layer):
    """Give every parameter that starts as all zeros or all ones other values, so that no layer is the identity."""
    for parameter in layer.parameters():
        first = float(parameter.flatten()[0])
        if first in (0.0, 1.0) and bool((parameter == first).all()):
            fan_in = parameter.size // parameter.shape[0] if parameter.ndim == 4 else parameter.shape[0]
            deviation = 0.1 if parameter.ndim == 1 else 0.7 / fan_in**0.5
            parameter.set_value(first + deviation * paddle.randn(parameter.shape))
    layer.eval()
    return layer


@pytest.fixture(scope="session")
def make_denoising_unet():
    """Call it for a new tiny `DenoisingUNet3D` with motion modules: `(seed=0, **options)`."""
    from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D

    def make(seed=0, **options):
        paddle.seed(seed)
        return randomise(DenoisingUNet3D(**{**COMMON, **MOTION, **options}))

    return make


@pytest.fixture(scope="session")
def make_reference_unet():
    """Call it for a new tiny `ReferenceUNet`: `(seed=1, **options)`."""
    from ppdiffusers_ext.models.animate_anyone import ReferenceUNet

    def make(seed=1, **options):
        paddle.seed(seed)
        return randomise(ReferenceUNet(**{**COMMON, **options}))

    return make


@pytest.fixture(scope="session")
def make_pose_guider():
    """Call it for a new tiny `PoseGuider`: `(seed=2, **options)`."""
    from ppdiffusers_ext.models.animate_anyone import PoseGuider

    def make(seed=2, **options):
        paddle.seed(seed)
        options = {"conditioning_embedding_channels": WIDTHS[0], "block_out_channels": (8, 16, 16, 24), **options}
        return randomise(PoseGuider(**options))

    return make


@pytest.fixture(scope="session")
def denoising_unet(make_denoising_unet):
    """Not to be changed; tests that train or convert make their own."""
    return make_denoising_unet()


@pytest.fixture(scope="session")
def reference_unet(make_reference_unet):
    """Not to be changed."""
    return make_reference_unet()


@pytest.fixture(scope="session")
def pose_guider(make_pose_guider):
    """Not to be changed."""
    return make_pose_guider()


@pytest.fixture(scope="session")
def make_vae():
    """Call it for a new tiny `AutoencoderKL`, 8 times smaller latents."""
    from ppdiffusers import AutoencoderKL

    def make(seed=3):
        paddle.seed(seed)
        vae = AutoencoderKL(
            block_out_channels=(16, 16, 32, 32),
            layers_per_block=1,
            norm_num_groups=8,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        return randomise(vae)

    return make


@pytest.fixture(scope="session")
def make_image_encoder():
    """Call it for a new tiny `CLIPVisionModelWithProjection`, as wide as the UNets' cross-attention."""
    from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    def make(seed=4):
        paddle.seed(seed)
        config = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            projection_dim=COMMON["cross_attention_dim"],
            num_hidden_layers=2,
            num_attention_heads=4,
            patch_size=32,
            image_size=224,
        )
        return randomise(CLIPVisionModelWithProjection(config))

    return make


@pytest.fixture(scope="session")
def parts(make_vae, make_image_encoder, reference_unet, denoising_unet, pose_guider):
    """The networks of the tiny pipeline by name, built once. Not to be changed."""
    return {
        "vae": make_vae(),
        "image_encoder": make_image_encoder(),
        "reference_unet": reference_unet,
        "denoising_unet": denoising_unet,
        "pose_guider": pose_guider,
    }


@pytest.fixture
def make_pipeline(parts):
    """Call it for a `Pose2VideoPipeline` of the tiny networks, some of which may be replaced by name."""
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler

    def make(scheduler="DDIM", **replaced):
        pipeline = Pose2VideoPipeline(**{**parts, **replaced}, scheduler=make_scheduler(scheduler, RELEASED_SCHEDULE))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


def picture(seed, width=40, height=48):
    """A PIL picture with some structure: coarse coloured noise, enlarged."""
    pixels = np.random.RandomState(seed).randint(0, 256, (6, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).resize((width, height))


@pytest.fixture(scope="session")
def reference_image():
    return picture(100)


@pytest.fixture(scope="session")
def poses():
    """Ten pose pictures, each another."""
    return [picture(seed) for seed in range(10)]
