"""Schedulers by name, their options, and whether each sampler follows the schedule that the model was trained on."""

import inspect
import logging

import numpy as np
import paddle
import ppdiffusers
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.scheduler_names import ALIASES, SAMPLERS
from ppdiffusers_ext.pipelines.schedulers import (
    check_scheduler,
    make_scheduler,
    scheduler_class,
    zero_snr_alpha_bar,
)
from tests.conftest import RELEASED_SCHEDULE

ALPHA_BAR = zero_snr_alpha_bar(0.00085, 0.012, "linear")


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DDIM", "DDIMScheduler"),
        ("ddim", "DDIMScheduler"),
        ("DDIMScheduler", "DDIMScheduler"),
        ("DPM-Solver++", "DPMSolverMultistepScheduler"),
        ("dpm_solver++", "DPMSolverMultistepScheduler"),
        ("DPM++", "DPMSolverMultistepScheduler"),
        ("UniPC", "UniPCMultistepScheduler"),
        ("euler", "EulerDiscreteScheduler"),
        ("Euler-a", "EulerAncestralDiscreteScheduler"),
        ("Euler A", "EulerAncestralDiscreteScheduler"),
        ("PNDM", "PNDMScheduler"),
        ("EulerDiscrete", "EulerDiscreteScheduler"),
        ("Heun", "HeunDiscreteScheduler"),
        ("DEIS", "DEISMultistepScheduler"),
        ("LMS", "LMSDiscreteScheduler"),
        ("LCM", "LCMScheduler"),
        ("PNDM", "PNDMScheduler"),
    ],
)
def test_scheduler_is_found_by_short_name_and_class_name_in_any_case(name, expected):
    assert issubclass(scheduler_class(name), getattr(ppdiffusers, expected))


@pytest.mark.parametrize(("name", "nearest"), [("DDIMM", "DDIM"), ("DPMSolver", "DPMSolver"), ("Oiler", "Euler")])
def test_unknown_scheduler_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"{name}.* did you mean {nearest}"):
        scheduler_class(name)


@pytest.mark.parametrize("name", ["foo", "VQ", "Flow", "Karras", "RePaint2", "ScoreSde", "Wuerst"])
def test_nothing_is_suggested_that_is_not_accepted(name):
    with pytest.raises(InputError, match=f"'{name}' is not known; .* are accepted") as caught:
        scheduler_class(name)
    meant = str(caught.value).partition("did you mean ")[2].partition("?")[0]
    assert not meant or meant in {scheduler_class(sampler).__name__ for sampler in SAMPLERS}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_that_is_suggested_takes_steps(name):
    check_scheduler(make_scheduler(name, RELEASED_SCHEDULE), 30)


@pytest.mark.parametrize("name", ["", "scheduler", "torch", None, 3])
def test_name_of_no_scheduler_is_refused(name):
    with pytest.raises(InputError):
        scheduler_class(name)


# Options


@pytest.mark.parametrize("name", ["DDIM", "Euler"])
def test_unknown_option_is_answered_with_the_nearest(name):
    with pytest.raises(InputError, match="'beta_strat' is not known .*did you mean 'beta_start'"):
        make_scheduler(name, {"beta_strat": 0.1})


def test_option_of_ddim_that_says_nothing_to_a_scheduler_is_left_out_with_a_log_line(caplog):
    with caplog.at_level(logging.INFO, logger="ppdiffusers_ext"):
        scheduler = make_scheduler("Euler", {"clip_sample": False})
    assert "clip_sample" not in scheduler.config
    assert "EulerDiscreteScheduler has no option clip_sample; it is left out" in caplog.text


@pytest.mark.parametrize("option", ["thresholding", "rescale_betas_zero_snr"])
def test_option_of_ddim_that_a_scheduler_cannot_serve_is_refused_by_name(option):
    with pytest.raises(InputError, match=f"KarrasVeScheduler has no option '{option}'"):
        make_scheduler("KarrasVe", {option: True})


def test_option_that_is_at_its_default_anyway_is_no_obstacle():
    make_scheduler("Euler", {"thresholding": False})


def test_options_reach_the_scheduler():
    config = make_scheduler("DDIM", {**RELEASED_SCHEDULE, "steps_offset": 0}).config
    assert (config.beta_schedule, config.prediction_type, config.timestep_spacing, config.steps_offset) == (
        "linear",
        "v_prediction",
        "trailing",
        0,
    )


def test_given_options_are_not_changed():
    options = dict(RELEASED_SCHEDULE)
    make_scheduler("Euler", options)
    assert options == RELEASED_SCHEDULE


@pytest.mark.parametrize(
    "options",
    [{"beta_schedule": "strange"}, {"rescale_betas_zero_snr": True, "beta_schedule": "squaredcos_cap_v2"}],
)
def test_beta_schedule_that_cannot_be_served_is_refused(options):
    with pytest.raises(InputError, match=options["beta_schedule"]):
        make_scheduler("DDIM", options)


# Zero terminal signal-to-noise ratio


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear"])
def test_rescaled_schedule_keeps_its_first_value_and_ends_at_zero(beta_schedule):
    first = 0.00085
    alpha_bar = zero_snr_alpha_bar(first, 0.012, beta_schedule)
    assert alpha_bar.shape == (1000,)
    assert alpha_bar[0] == pytest.approx(1 - first, abs=1e-12)
    assert alpha_bar[-1] == 0
    assert (np.diff(alpha_bar) < 0).all()


def test_square_root_of_the_rescaled_schedule_is_shifted_and_scaled():
    plain = np.sqrt(np.cumprod(1 - np.linspace(0.00085, 0.012, 1000)))
    slope, intercept = np.polyfit(plain, np.sqrt(ALPHA_BAR), 1)
    np.testing.assert_allclose(np.sqrt(ALPHA_BAR), slope * plain + intercept, atol=1e-9)


def test_ddim_has_the_exact_rescaled_schedule():
    alphas = make_scheduler("DDIM", RELEASED_SCHEDULE).alphas_cumprod
    np.testing.assert_allclose(alphas, ALPHA_BAR, atol=1e-7)
    assert float(alphas[-1]) == 0


@pytest.mark.parametrize("name", ["DPM-Solver++", "UniPC", "Euler", "Heun"])
def test_scheduler_that_does_not_know_the_option_gets_the_rescaled_betas(name):
    scheduler = make_scheduler(name, RELEASED_SCHEDULE)
    np.testing.assert_allclose(scheduler.alphas_cumprod, ALPHA_BAR, atol=2e-6)
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(2.0**-24, rel=0.01)


# The oracle: a model that is right at once. Whatever the sampler, the result must be what the model sees.

SHAPE = (1, 4, 3, 5, 5)
CLEAN = paddle.to_tensor(np.random.RandomState(0).randn(*SHAPE).astype("float32"))
NOISE = paddle.to_tensor(np.random.RandomState(1).randn(*SHAPE).astype("float32"))

# These end at timestep 0 instead of at no noise: 0.029 of the noise remains.
ENDS_WITH_NOISE = {"UniPC", "DEIS"}
SAMPLERS = ["DDIM", "DPM-Solver++", "UniPC", "Euler", "LCM", "Euler-a", "Heun", "DEIS", "LMS"]


def velocity(sample, timestep):
    """The exact v of a sample that is sqrt(alpha_bar) CLEAN + sqrt(1 - alpha_bar) noise, at any fraction of a step."""
    alpha_bar = np.interp(float(timestep), np.arange(1000), ALPHA_BAR)
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    return signal * (sample - signal * CLEAN) / noise - noise * CLEAN


def sample(name, steps, seed=0):
    scheduler = make_scheduler(name, RELEASED_SCHEDULE)
    scheduler.set_timesteps(steps)
    extra = {"eta": 0.0, "generator": paddle.Generator().manual_seed(seed)}
    extra = {key: value for key, value in extra.items() if key in inspect.signature(scheduler.step).parameters}
    latents = NOISE * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        prediction = velocity(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(prediction, timestep, latents, **extra).prev_sample
    return latents


def result_of(name):
    """What the sampler must find, and how near it comes in fp32."""
    if name in ENDS_WITH_NOISE:
        return np.sqrt(ALPHA_BAR[0]) * CLEAN + np.sqrt(1 - ALPHA_BAR[0]) * NOISE, 1e-4
    return CLEAN, 1e-5


@pytest.mark.parametrize("steps", [2, 10, 30])
@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_finds_what_an_exact_model_predicts(name, steps):
    expected, tolerance = result_of(name)
    np.testing.assert_allclose(sample(name, steps), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_finds_it_in_a_single_step(name):
    # A single step from a standard deviation of 4096 to nothing: that times the precision of fp32 is lost.
    np.testing.assert_allclose(sample(name, 1), result_of(name)[0], rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_is_deterministic_under_a_seeded_generator(name):
    np.testing.assert_array_equal(sample(name, 4), sample(name, 4))


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_keeps_the_dtype_of_the_latents(name):
    assert sample(name, 3).dtype == paddle.float32


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_starts_at_the_last_timestep(name):
    # Trailing spacing: pure noise is what the model was trained to see there.
    scheduler = make_scheduler(name, RELEASED_SCHEDULE)
    scheduler.set_timesteps(10)
    assert float(scheduler.timesteps[0]) == 999


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "Euler-a"])
def test_sampler_that_is_told_clean_latents_ends_at_them_on_a_schedule_of_much_noise(name):
    """On it alpha_bar is below 2**-24 before its end."""
    scheduler = make_scheduler(name, {**RELEASED_SCHEDULE, "beta_end": 0.04, "prediction_type": "sample"})
    check_scheduler(scheduler, 6)
    assert (np.diff(scheduler.alphas_cumprod.numpy()) < 0).all()
    scheduler.set_timesteps(6)
    latents = NOISE * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        latents = scheduler.step(CLEAN, timestep, latents).prev_sample
    np.testing.assert_allclose(latents, CLEAN, rtol=0, atol=0.15)  # of the noise 0.029 may be left


def test_sampler_that_knows_no_clean_latents_is_refused_before_any_work():
    scheduler = make_scheduler("Euler-a", {**RELEASED_SCHEDULE, "prediction_type": "sample"})
    with pytest.raises(InputError, match="cannot take 6 steps .*sample"):
        check_scheduler(scheduler, 6)


def test_every_short_name_is_tested_with_the_oracle():
    assert {scheduler_class(name) for name in ALIASES} <= {scheduler_class(name) for name in SAMPLERS}


@pytest.mark.parametrize(
    ("name", "options"),
    [("DDIM", {"trained_betas": [1.0] * 1000}), ("LMS", {"trained_betas": [0.0] * 1000})],
)
def test_schedule_without_finite_steps_is_refused_before_any_work(name, options):
    with pytest.raises(InputError, match="cannot take 10 steps"):
        check_scheduler(make_scheduler(name, options), 10)


@pytest.mark.parametrize("option", ["timestep_type", "interpolation_type"])
def test_kinds_of_euler_are_a_closed_list(option):
    with pytest.raises(InputError, match=f"{option} is 'nonsense'; .* or .* is accepted"):
        make_scheduler("Euler", {option: "nonsense"})
