"""Presets: which there are, what they may set, and what goes before what."""

import inspect
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.presets import FOLDER, KNOBS, preset_names, read_preset, tell_preset
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.runtime import Runtime

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(tmp_path):
    def write_and_load(values, **overrides):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        return Pose2VidConfig.load(path, **overrides)

    return write_and_load


def test_presets_are_those_of_the_documentation():
    assert preset_names() == ["exact", "balanced", "fast"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_annotated_and_is_accepted_by_command_and_pipeline(load, name):
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")
    values = read_preset(name)
    config = load({"steps": 3, "preset": name})
    assert {knob: getattr(config, knob) for knob in values} == values
    assert set(values) <= set(inspect.signature(Pose2VideoPipeline.__call__).parameters)


@pytest.mark.parametrize("name", preset_names("easy_animate"))
def test_presets_of_easy_animate_are_arguments_of_its_pipelines(name):
    assert preset_names("easy_animate") == preset_names()
    assert (FOLDER / "easy_animate" / f"{name}.yaml").read_text().startswith("# ")
    values = read_preset(name, "easy_animate")
    for pipeline in (EasyAnimatePipeline, EasyAnimateInpaintPipeline):
        parameters = inspect.signature(pipeline.__call__).parameters
        assert set(values) <= set(parameters)
        defaults = {knob: parameters[knob].default for knob in values}
        given = {knob: tuple(value) if isinstance(value, list) else value for knob, value in values.items()}
        assert (given == defaults) == (name == "exact")


def test_knobs_of_another_system_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("step_cache_interval: 2\n")
    with pytest.raises(InputError, match="'step_cache_interval'"):
        read_preset(tmp_path / "mine.yaml", "easy_animate")
    with pytest.raises(InputError, match="'quick' does not exist; one of exact, balanced, fast"):
        read_preset("quick", "easy_animate")


def test_exact_is_what_the_pipeline_does_by_default():
    parameters = inspect.signature(Pose2VideoPipeline.__call__).parameters
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in read_preset("exact").items()}
    assert values == {name: parameters[name].default for name in values}


def test_the_file_goes_before_its_preset_and_the_command_line_before_both(load):
    assert load({"preset": "fast", "step_cache_interval": 5}).step_cache_interval == 5
    assert load({"step_cache_interval": 5}, preset="exact").step_cache_interval == 5
    assert load({"preset": "fast"}, preset="exact", step_cache_interval=4).step_cache_interval == 4


def test_a_preset_of_ones_own(load, tmp_path):
    (tmp_path / "mine.yaml").write_text("step_cache_interval: 7\n")
    assert load({"steps": 3}, preset=str(tmp_path / "mine.yaml")).step_cache_interval == 7


def test_an_unknown_knob_is_refused_by_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("step_cache_intervall: 7\n")
    with pytest.raises(InputError, match="'step_cache_intervall'; did you mean 'step_cache_interval'"):
        read_preset(tmp_path / "mine.yaml")
    assert "steps" not in KNOBS  # what decides the result by itself is not a preset's business


@pytest.mark.parametrize("preset", ["quick", "missing.yaml", 3])
def test_an_unknown_preset_is_refused_with_those_there_are(preset):
    with pytest.raises(InputError, match="does not exist; one of exact, balanced, fast, or a YAML file"):
        read_preset(preset)


def test_values_of_a_preset_are_checked_as_those_of_the_file(load, tmp_path):
    (tmp_path / "mine.yaml").write_text("step_cache_interval: often\n")
    with pytest.raises(InputError, match="step_cache_interval is 'often'; a whole number"):
        load({"steps": 3}, preset=str(tmp_path / "mine.yaml"))


@pytest.fixture(scope="module")
def animate():
    """A function of a preset: frames of the demo's model and person, with guidance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = Pose2VidConfig.load("configs/inference/demo.yaml")
        pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", "fp32"))
        ((picture, (video, *_)),) = config.test_cases.items()
        picture, poses = read_image(picture), list(read_frames(video, count=4))
    pipeline.set_progress_bar_config(disable=True)
    options = {"width": 96, "height": 96, "num_inference_steps": 10, "guidance_scale": 2.0, "output_type": "np"}

    def run(preset):
        generator = paddle.Generator().manual_seed(0)
        return pipeline(picture, poses, generator=generator, **options, **read_preset(preset)).videos

    return run


@pytest.mark.parametrize(("preset", "least"), [("balanced", 40), ("fast", 32)])
def test_a_preset_keeps_its_promise_for_a_trained_model(animate, preset, least):
    expected = animate("exact")
    error = np.mean((animate(preset).astype("float64") - expected) ** 2)
    assert expected.std() > 0.05
    assert least <= -10 * np.log10(error) < 100  # dB


# What goes before what, in all systems: option given, key of the file, preset or rung named anywhere, default.
WEIGHTS = dict.fromkeys(("svd", "unet", "pose_net", "face_encoder"), "x")
SYSTEMS = {
    "animate_anyone": (Pose2VidConfig, {}, lambda config: config.guidance_interval),
    "stable_animator": (StableAnimationConfig, WEIGHTS, lambda config: config.knobs.get("guidance_interval")),
    "easy_animate": (EasyAnimateConfig, {"model": "x"}, lambda config: config.knobs["guidance_interval"]),
}


@pytest.fixture(params=SYSTEMS)
def interval_of(request, tmp_path):
    """A function of what a file says and of options: the guidance interval; a preset of one's own has 0.1 to 0.2."""
    cls, values, read = SYSTEMS[request.param]
    (tmp_path / "own.yaml").write_text("guidance_interval: [0.1, 0.2]\n")
    own = str(tmp_path / "own.yaml")

    def load(of_file=(), **options):
        path = tmp_path / "config.yaml"
        named = {key: own if value == "own" else value for key, value in {**values, **dict(of_file)}.items()}
        path.write_text(yaml.safe_dump(named or {"seed": 1}))
        options = {key: own if value == "own" else value for key, value in options.items()}
        return list(read(cls.load(path, **options)))

    return load


def test_default_is_what_nothing_goes_before(interval_of):
    assert interval_of() == [0, 1]
    assert interval_of(preset=None, guidance_interval=None) == [0, 1]


def test_preset_goes_before_the_default_wherever_it_is_named(interval_of):
    assert interval_of({"preset": "own"}) == interval_of(preset="own") == [0.1, 0.2]
    assert interval_of({"preset": "exact"}, preset="own") == [0.1, 0.2]
    assert interval_of({"preset": "own"}, preset="exact") == [0, 1]
    assert interval_of({"preset": "own"}, preset=None) == [0.1, 0.2]


def test_key_of_the_file_goes_before_a_preset_wherever_it_is_named(interval_of):
    of_file = {"guidance_interval": [0.3, 0.4]}
    assert interval_of(of_file, preset="own") == interval_of({**of_file, "preset": "own"}) == [0.3, 0.4]
    assert interval_of(of_file, preset="own", guidance_interval=None) == [0.3, 0.4]


def test_option_given_goes_before_all(interval_of):
    of_file = {"guidance_interval": [0.3, 0.4], "preset": "own"}
    assert interval_of(of_file, guidance_interval=[0.5, 0.6], preset="own") == [0.5, 0.6]


@pytest.mark.parametrize("preset", [None, 3, "", "a\0b", "a" * 5000, "a" * 5000 + ".yaml", "/dev/zero", "none.yaml"])
def test_preset_that_there_is_not_is_refused_in_a_line(preset):
    with pytest.raises(InputError) as error:
        read_preset(preset)
    assert "one of exact, balanced, fast, or a YAML file" in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 600


def test_preset_counts_for_a_configuration_that_is_made_in_python():
    assert Pose2VidConfig(preset="fast").step_cache_interval == read_preset("fast")["step_cache_interval"]
    assert Pose2VidConfig(memory="minimal").vae_tile_size == 512
    assert Pose2VidConfig(memory="minimal", vae_tile_size=0).vae_tile_size == 0


def test_key_that_is_no_knob_is_answered_with_the_knobs(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    with pytest.raises(InputError, match="'seed'; guidance_interval, .*context_schedule or expected is accepted"):
        read_preset(str(tmp_path / "a.yaml"))


def test_name_of_something_else_is_told_what_it_is(tmp_path):
    (tmp_path / "a.txt").write_text("guidance_interval: [0, 1]\n")
    for name, problem in (("", "is a folder"), ("a.txt", "is a file whose name does not end in .yaml")):
        with pytest.raises(InputError, match=f"{problem}; one of exact, balanced, fast, or a YAML file"):
            read_preset(str(tmp_path / name))
    for name in ("nowhere", "a\0b", "\ud800", "a" * 5000, 3, None, ["exact"]):
        with pytest.raises(InputError, match="does not exist; one of exact"):
            read_preset(name)


@pytest.mark.parametrize("system", ["", "easy_animate"])
def test_what_is_expected_of_a_preset_is_told_in_the_first_line(system):
    assert tell_preset("exact", system) == ""
    for name in ("balanced", "fast"):
        told = tell_preset(name, system)
        assert told.startswith(f", preset {name} (") and "times as fast" in told and " dB" in told
        assert "expected" not in read_preset(name, system)


def test_a_preset_of_the_users_own_may_say_what_is_expected(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("step_cache_interval: 2\n")
    assert tell_preset(str(path)) == f", preset {path}"
    path.write_text("step_cache_interval: 2\nexpected: a bit faster\n")
    assert tell_preset(str(path)) == f", preset {path} (a bit faster)"
    assert read_preset(path) == {"step_cache_interval": 2}
    path.write_text("expected: 2\n")
    with pytest.raises(InputError, match="expected is 2; words are accepted"):
        read_preset(path)
