"""The YAML configuration of pose2vid: what is accepted, and what is refused by name."""

from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.schedulers import make_scheduler

CONFIGS = Path(__file__).parents[3] / "configs" / "inference"


@pytest.fixture
def load(tmp_path):
    def write_and_load(values=None, **overrides):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values or {"steps": 3}))
        return Pose2VidConfig.load(path, **overrides)

    return write_and_load


@pytest.mark.parametrize(
    ("name", "inference"), [("animation.yaml", "inference_v2.yaml"), ("demo.yaml", "demo_model.yaml")]
)
def test_shipped_configurations_are_accepted(name, inference):
    config = Pose2VidConfig.load(CONFIGS / name)
    assert config.inference_config.endswith(inference)
    assert config.test_cases


def test_the_shipped_inference_configuration_describes_the_released_model():
    values = yaml.safe_load((CONFIGS / "inference_v2.yaml").read_text())
    small = {"block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 32, "attention_head_dim": 4}
    model = DenoisingUNet3D(**small, **values["unet_additional_kwargs"])
    motion = [name for name, _ in model.named_sublayers() if name.endswith("temporal_transformer")]
    assert (len(motion), model.max_frames) == (21, 32)
    scheduler = make_scheduler(values["sampler"], values["noise_scheduler_kwargs"])
    assert float(scheduler.alphas_cumprod[-1]) == 0.0


def test_the_keys_of_the_existing_example_are_known(load):
    keys = (
        "pretrained_base_model_path pretrained_vae_path image_encoder_path denoising_unet_config_path "
        "denoising_unet_path reference_unet_path pose_guider_path motion_module_path inference_config weight_dtype"
    ).split()
    config = load({**dict.fromkeys(keys, "x"), "weight_dtype": "fp16", "test_cases": {"a.png": ["b.mp4"]}})
    assert config.motion_module_path == "x"


def test_overrides_win_and_none_leaves_the_files_value(load):
    config = load({"steps": 3, "seed": 5}, steps=7, seed=None)
    assert (config.num_inference_steps, config.seed) == (7, 5)


def test_sizes_are_rounded_down_to_multiples_of_8(load):
    config = load(width=601, height=784)
    assert (config.width, config.height) == (600, 784)


def test_a_single_video_may_stand_for_a_list(load):
    assert load({"test_cases": {"a.png": "b.mp4"}}).test_cases == {"a.png": ["b.mp4"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hight": 64}, "'hight'; did you mean 'height'"),
        ({"width": "wide"}, "config.yaml is 'wide'; a whole number from 64 to 8192 is accepted"),
        ({"steps": 2.5}, "config.yaml is 2.5; a whole number"),
        ({"steps": True}, "config.yaml is True"),
        ({"sequential_guidance": "yes"}, "true or false"),
        ({"steps": 0}, "config.yaml is 0; a whole number from 1 to 1000"),
        ({"context_overlap": -1}, "config.yaml is -1; a whole number from 0"),
        ({"context_overlap": 24}, "context_overlap is 24; a number below context_frames, 24"),
        ({"cfg": -1.0}, "config.yaml is -1.0; a number from 0 to 100"),
        ({"fps": 0}, "config.yaml is 0; a number from 0.1 to 240"),
        ({"step_cache_interval": 0}, "step_cache_interval in "),
        ({"width": 8}, "config.yaml is 8; a whole number from 64"),
        ({"context_schedule": "zigzag"}, "'zigzag'"),
        ({"test_cases": ["a.png"]}, "test_cases"),
        ({"test_cases": {"a.png": 3}}, "a picture and a list of pose videos"),
        ({"test_cases": None}, "config.yaml is None; a mapping"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(load, values, words):
    with pytest.raises(InputError) as error:
        load(values)
    assert words in str(error.value)


def test_a_missing_file_is_a_missing_file_error(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        Pose2VidConfig.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["- 1\n- 2", "just words", "", "a: [", "a: !!python/object/apply:os.getcwd []"])
def test_what_is_not_a_plain_mapping_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="configuration"):
        Pose2VidConfig.load(tmp_path / "config.yaml")
