"""YAML mappings of keys that are known, and of others, with values of any kind, through each of the configurations."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from ppdiffusers_ext.batch.job_list import read_job_list
from ppdiffusers_ext.pipelines.animate_anyone.loading import read_inference_config
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.easy_animate.loading import read_transformer_options
from ppdiffusers_ext.pipelines.easy_animate.options import TASKS, EasyAnimateConfig
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.presets import KNOBS, read_preset
from ppdiffusers_ext.pipelines.schedulers import check_scheduler, make_scheduler
from ppdiffusers_ext.pipelines.stable_animator import run as stable_animation
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig, StableAnimationConfig
from scripts.batch_jobs import COMMANDS, options_of
from tests.support.fuzzing import fuzz, refused_or_read


def read_jobs(path):
    """What a list of jobs of any command comes to, as `scripts.batch` reads it."""
    for job in read_job_list(path, tuple(COMMANDS)):
        options_of(job.command, job.values, job.where)


TEXTS = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["exact", "fast", "high", "minimal", "fp32", "bf16", "DDIM", "PNDM", "LCM", "Euler", "linear", "scaled_linear",
         "v_prediction", "trailing", "leading", "uniform", "crop", "auto", "cpu", "a.mp4", "a.png", "a\0b", "x" * 5000,
         "\x1b[2J", "none", "30:60", "1e23"]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-2, 5),
    st.integers(),
    st.floats(),
    st.sampled_from([0.5, 1e23, 1e-9, 2**63 - 1, 2**63, 512, 1000, 1001, 10**9, 10**900]),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=3),
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)),
)


def mappings(names, usual=None):
    """Mappings of some of the names, and now and then of another one, beside those that are usual."""
    keys = st.one_of(*[st.sampled_from(sorted(names))] * 20, PLAIN)
    return st.dictionaries(keys, VALUES, max_size=4).map(lambda values: {**(usual or {}), **values})


def names_of(cls):
    return [item.name for item in fields(cls)]


def write(folder, values):
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


def with_scheduler(pair):
    return {**pair[0], "noise_scheduler_kwargs": pair[1]}


def check_stable(path):
    stable_animation.check(StableAnimationConfig.load(path), 24)


def check_easy(path):
    config = EasyAnimateConfig.load(path)
    for task in TASKS:
        with refused_or_read():
            config.check(task)


def check_inference(path):
    inference = read_inference_config(path)
    check_scheduler(make_scheduler(inference.get("sampler", "DDIM"), inference.get("noise_scheduler_kwargs")), 5)


OF_SCHEDULERS = (
    *("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "clip_sample", "set_alpha_to_one"),
    *("steps_offset", "prediction_type", "thresholding", "dynamic_thresholding_ratio", "clip_sample_range"),
    *("sample_max_value", "timestep_spacing", "rescale_betas_zero_snr", "trained_betas"),
)
STABLE = dict.fromkeys(("svd", "unet", "pose_net", "face_encoder"), "x")
OF_JOBS = ("command", *names_of(Job), *names_of(Pose2VidConfig), *names_of(EasyAnimateConfig))
JOB = {"reference_image": "a.png", "driving_video": "b.mp4", "output": "c.mp4"}
REFINEMENT = mappings(names_of(RefinementConfig), {"recognizer": "x"})
INFERENCE = mappings(["unet_additional_kwargs", "pose_guider_kwargs", "sampler"])
CASES = {
    "pose2vid": (mappings(names_of(Pose2VidConfig)), Pose2VidConfig.load),
    "inference": (st.tuples(INFERENCE, mappings(OF_SCHEDULERS)).map(with_scheduler), check_inference),
    "stable_animator": (mappings(names_of(StableAnimationConfig), STABLE), check_stable),
    "refinement": (REFINEMENT.map(lambda values: {**STABLE, "refinement": values}), check_stable),
    "easy_animate": (
        mappings(names_of(EasyAnimateConfig), {"model": "x", "prompt": "x", "output": "a.mp4"}),
        check_easy,
    ),
    "preset": (mappings(KNOBS), lambda path: Pose2VidConfig(preset=str(path)).check()),
    "preset of stable_animator": (
        mappings(KNOBS),
        lambda path: stable_animation.check(StableAnimationConfig(**STABLE, preset=str(path)), 24),
    ),
    "preset of easy_animate": (
        mappings(tuple(read_preset("exact", "easy_animate"))),
        lambda path: (
            read_preset(str(path), "easy_animate"),
            EasyAnimateConfig(model="x", prompt="x", output="a.mp4", preset=str(path)).check("text"),
        ),
    ),
    "jobs": (
        st.one_of(
            st.lists(mappings(OF_JOBS, JOB), min_size=1, max_size=2).map(lambda jobs: {"jobs": jobs}),
            VALUES.map(lambda jobs: {"jobs": jobs}),
        ),
        read_jobs,
    ),
    "transformer": (VALUES.map(lambda values: {"transformer": values}), read_transformer_options),
    "anything": (VALUES, Pose2VidConfig.load),
}


@pytest.mark.parametrize("name", CASES)
def test_values_come_to_a_configuration_or_are_refused(tmp_path, name):
    values, read = CASES[name]

    @fuzz(values=values)
    def try_values(values):
        with refused_or_read():
            read(write(tmp_path, values))

    try_values()
