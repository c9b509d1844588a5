"""The memory ladder: what stays in memory on which rung, and that the numbers stay."""

import inspect
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
from ppdiffusers_ext.runtime import Runtime
from tests.pipelines.animate_anyone.test_pipeline import largest_difference, run

__all__ = ["run"]  # a fixture
ROOT = Path(__file__).parents[2]
SIZE = {"width": 72, "height": 80, "output_type": "pd", "guidance_scale": 2.0}


@pytest.fixture
def load_demo(monkeypatch):
    """Call it for the demo's pipeline on a rung, and the options of its call."""
    monkeypatch.chdir(ROOT)

    def load(memory, **options):
        config = Pose2VidConfig.load("configs/inference/demo.yaml", memory=memory, **options)
        pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", "fp32"))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline, {**SIZE, **RUNGS[memory].options}

    return load


def in_memory(pipeline):
    """The networks whose weights are in memory."""
    return [
        name
        for name in Pose2VideoPipeline.network_names
        if any(tensor._is_initialized() for tensor in getattr(pipeline, name).parameters())
    ]


def frames(load_demo, run, memory, **options):
    pipeline, arguments = load_demo(memory, **options)
    return pipeline, run(pipeline, **arguments)


@pytest.mark.parametrize("memory", ["medium", "low"])
def test_lower_rungs_make_the_same_frames(load_demo, run, memory):
    _, expected = frames(load_demo, run, "high")
    _, given = frames(load_demo, run, memory)
    assert largest_difference(given, expected) < 1e-4
    assert float(expected.std()) > 0.01


def test_half_precision_weights_make_nearly_the_same_frames(load_demo, run):
    _, expected = frames(load_demo, run, "high")
    _, given = frames(load_demo, run, "minimal")
    assert 0 < largest_difference(given, expected) < 0.2


@pytest.mark.parametrize("memory, stay", [("high", list(Pose2VideoPipeline.network_names)), ("low", [])])
def test_networks_leave_the_memory_on_the_lower_rungs(load_demo, run, memory, stay):
    pipeline, arguments = load_demo(memory)
    assert in_memory(pipeline) == stay
    present = []
    run(pipeline, **arguments, callback_on_step_end=lambda *_: present.append(in_memory(pipeline)))
    assert present == [stay or ["denoising_unet"]]
    assert in_memory(pipeline) == stay


def test_second_clip_of_a_low_rung_reads_the_networks_again(load_demo, run):
    pipeline, arguments = load_demo("low")
    assert largest_difference(run(pipeline, **arguments), run(pipeline, **arguments)) < 1e-5


def test_sessions_of_an_engine_leave_the_memory_too(load_demo, run, tmp_path):
    pipeline, arguments = load_demo("low", engine="onnx", engine_cache=str(tmp_path))
    run(pipeline, **arguments)
    assert pipeline._engine._functions == {}


def test_options_of_a_rung_are_those_of_the_pipeline():
    parameters = inspect.signature(Pose2VideoPipeline.__call__).parameters
    for rung in RUNGS.values():
        assert set(rung.options) <= set(parameters)
    assert [name for name in RUNGS["high"].options if parameters[name].default is not None] == []  # the rung says


def test_the_file_goes_before_its_rung_and_the_command_line_before_both(tmp_path):
    def load(values, **overrides):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        config = Pose2VidConfig.load(tmp_path / "config.yaml", **overrides)
        return config.sequential_guidance, config.decode_chunk_size

    assert load({"memory": "low"}) == (True, 1)
    assert load({"memory": "low", "decode_chunk_size": 3}) == (True, 3)
    assert load({"memory": "low", "decode_chunk_size": 3}, memory="high") == (False, 3)
    assert load({"memory": "high"}, memory="medium", decode_chunk_size=2) == (True, 2)


def test_unknown_rung_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="memory 'tiny' is not known; use one of high, medium, low, minimal"):
        get_rung("tiny")
