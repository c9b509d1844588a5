"""Any ppdiffusers scheduler by name, with options that are checked.

Models may be trained with v prediction and zero terminal signal-to-noise ratio (Lin et al. 2023, arXiv:2305.08891).
Schedulers of ppdiffusers that do not know that last option get the rescaled betas instead, so that every sampler
follows the schedule the model was trained on.
"""

import inspect
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import ppdiffusers.schedulers as ppdiffusers_schedulers
from ppdiffusers import DDIMScheduler
from ppdiffusers.schedulers.scheduling_utils import SchedulerOutput

from ppdiffusers_ext.errors import InputError, check_keys, nearest, printable, shown
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.models.rules import Anything, Choice, Either, Flag, ListOf, Number, Rules, Text, Whole
from ppdiffusers_ext.models.strict import LocalConfigMixin, local_folder
from ppdiffusers_ext.pipelines.scheduler_names import ALIASES, check_scheduler_name, normalised

logger = logging.getLogger(__name__)

# Where alpha_bar would be exactly zero, solvers in terms of sigma divide by it. diffusers uses this value as well.
_LAST_ALPHA_BAR = 2.0**-24

_SCHEDULE = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")

_MOST_TIMESTEPS = 20_000
# What the schedulers of ppdiffusers raise where numbers or names do not fit.
_NO_SUCH_SCHEDULE = (TypeError, ValueError, NotImplementedError, ArithmeticError, LookupError, RuntimeError)

# Options of DDIM that say nothing to a scheduler that has no such step.
_SKIPPABLE = ("clip_sample", "set_alpha_to_one", "steps_offset", "timestep_spacing")


_ANY_NUMBER = Number(-1e9, 1e9)
_OR_NONE = Either(None, _ANY_NUMBER)
_FLAGS = (
    *("clip_sample", "set_alpha_to_one", "rescale_betas_zero_snr", "thresholding", "use_karras_sigmas"),
    *("use_lu_lambdas", "lower_order_final", "euler_at_final", "skip_prk_steps", "predict_x0", "clip_denoised"),
)
_WORDS = ("beta_schedule", "prediction_type", "timestep_spacing", "algorithm_type", "solver_type", "final_sigmas_type")
# Of all samplers: an option has one meaning in each. Published models have 1000 steps; a schedule is a list of them.
RULES = Rules(
    {
        "num_train_timesteps": Whole(1, _MOST_TIMESTEPS),
        "original_inference_steps": Whole(1, _MOST_TIMESTEPS),
        "trained_betas": Either(None, ListOf(Number(0, 1), 1, 20_000)),
        "beta_start": Number(1e-9, 1),
        "beta_end": Number(1e-9, 1),
        "steps_offset": Whole(0, 1000),
        "solver_order": Whole(1, 3),
        "dynamic_thresholding_ratio": Number(0, 1),
        "timestep_scaling": _ANY_NUMBER,
        "sigma_data": Number(1e-6, 1e6),
        "lambda_min_clipped": Number(-float("inf"), 1e9),
        "disable_corrector": ListOf(Whole(0, 20_000), 0, 20_000),
        "num_vec_classes": Whole(1, 1_000_000),
        "correct_steps": Whole(1, 1000),
        "preconfig": Anything(),
        "solver_p": Anything(),
        "scaler": _ANY_NUMBER,
        "noise_sampler_seed": Either(None, Whole(0, (1 << 63) - 1)),
        **dict.fromkeys(_FLAGS, Flag()),
        **dict.fromkeys(_WORDS, Text(1, 100)),
        **dict.fromkeys(("schedule", "method"), Text(1, 100)),
        "interpolation_type": Choice("linear", "log_linear"),
        "timestep_type": Choice("discrete", "continuous"),
        "variance_type": Either(None, Text(1, 100)),
        **dict.fromkeys(("clip_sample_range", "sample_max_value", "rho", "s", "s_churn", "s_max", "s_min"), _OR_NONE),
        **dict.fromkeys(("s_noise", "shift", "sigma_max", "sigma_min", "snr", "eta", "sampling_eps"), _OR_NONE),
        **dict.fromkeys(("alpha_cum_start", "alpha_cum_end", "gamma_cum_start", "gamma_cum_end"), Number(0, 1)),
        **dict.fromkeys(("beta_min", "beta_max"), _ANY_NUMBER),
    }
)


class _LocalScheduler(LocalConfigMixin):
    """A scheduler whose `from_pretrained` takes folders of this computer alone, and whose options are held to `RULES`.

    Whoever makes it gets InputError, a ValueError, for others: the constructor and `from_config` register options
    before they compute anything.
    """

    def register_to_config(self, **options: Any) -> None:
        RULES.check(options, type(self).__name__)
        super().register_to_config(**options)  # type: ignore[misc]  # it is a mixin of ppdiffusers' classes

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, subfolder: str | None = None, **options: Any) -> Any:
        """The scheduler of a folder's scheduler_config.json, over which options go; errors: see `load_scheduler`."""
        return load_scheduler(cls.__name__, local_folder(folder, subfolder), options)

    def save_pretrained(self, save_directory: str | os.PathLike, to_diffusers: bool = False, **options: Any) -> None:
        """As ppdiffusers', into a folder of this computer. Raises InputError for options that are not known."""
        check_keys(options, ("save_directory", "to_diffusers"), "option of save_pretrained")
        super().save_pretrained(str(save_directory), to_diffusers=to_diffusers)  # type: ignore[misc]  # of a mix-in


class UniPCMultistepScheduler(_LocalScheduler, ppdiffusers_schedulers.UniPCMultistepScheduler):
    """ppdiffusers' UniPC, stepping in fp64: in fp32 it hands its linear solver one fp64 and one fp32 operand."""

    def step(self, model_output: paddle.Tensor, timestep: Any, sample: paddle.Tensor, return_dict: bool = True) -> Any:
        double = (model_output.astype("float64"), timestep, sample.astype("float64"))
        previous = super().step(*double, return_dict=False)[0].astype(sample.dtype)
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)


class DPMSolverMultistepScheduler(_LocalScheduler, ppdiffusers_schedulers.DPMSolverMultistepScheduler):
    """ppdiffusers' DPM-Solver++, whose last step leaves no noise, as diffusers' does since 0.26."""

    def set_timesteps(self, num_inference_steps: int | None = None) -> None:
        super().set_timesteps(num_inference_steps)
        if self._leaves_none:
            sigmas: Any = self.sigmas  # type: ignore[has-type]  # of ppdiffusers
            self.sigmas = paddle.concat([sigmas[:-1], paddle.zeros_like(sigmas[-1:])])

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Any,
        sample: paddle.Tensor,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        if self._leaves_none and self.step_index == len(self.timesteps) - 1:
            self.lower_order_nums = 0  # the formula of first order alone knows how
        return super().step(model_output, timestep, sample, generator, return_dict)

    @property
    def _leaves_none(self) -> bool:
        return self.config.algorithm_type == "dpmsolver++"


def _classes() -> dict[str, Any]:
    classes = {}
    for name in dir(ppdiffusers_schedulers):
        if name.endswith("Scheduler") and inspect.isclass(getattr(ppdiffusers_schedulers, name)):
            classes[normalised(name)] = getattr(ppdiffusers_schedulers, name)
    classes["unipcmultistep"] = UniPCMultistepScheduler
    classes["dpmsolvermultistep"] = DPMSolverMultistepScheduler
    classes.update({normalised(alias): classes[normalised(name)] for alias, name in ALIASES.items()})
    return classes


def scheduler_class(name: object) -> Any:
    """The ppdiffusers scheduler called `name`: "DDIM", "DPM-Solver++", "UniPC", "Euler", "LCM", or a class name.

    Raises:
        InputError: there is none; the message names the nearest of `SAMPLERS`.
    """
    check_scheduler_name(name)
    return _classes()[normalised(str(name))]


def scheduler_names() -> list[str]:
    """The names of all classes that `scheduler_class` gives."""
    return sorted({cls.__name__ for cls in _classes().values()})


def load_scheduler(name: str, folder: Path, options: dict[str, Any] | None = None) -> Any:
    """A scheduler of a class from the scheduler_config.json in a folder, of which it leaves out what it has not.

    Args:
        name: of the class.
        folder: `Path`.
        options: that go over the file's.

    Raises:
        MissingFileError, InputError: no such file, or one of no scheduler; options that are not known or do not fit.
    """
    cls, path = scheduler_class(name), folder / "scheduler_config.json"
    accepted = "the options of a scheduler, as save_pretrained writes them, are needed"
    config = read_json(path, "configuration", accepted, may_be_infinite=True)  # of DPM-Solver's bounds
    if not isinstance(config, dict):
        raise InputError(f"configuration {path} holds {shown(config)}; {accepted}")
    written = config.get("_class_name", name)
    if not isinstance(written, str) or written not in scheduler_names():
        raise InputError(f"{path} is of the class {shown(written)}; a scheduler of ppdiffusers is accepted")
    known = _parameters(cls)
    return make_scheduler(name, {**{key: config[key] for key in config if key in known}, **(options or {})})


def _parameters(cls: Any) -> list[str]:
    return [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "kwargs")]


def zero_snr_alpha_bar(
    beta_start: float, beta_end: float, beta_schedule: str, num_train_timesteps: int = 1000
) -> np.ndarray:
    """Cumulative products of 1 - beta, (num_train_timesteps,) in float64, that end at exactly 0 instead of 0.0047.

    Their square root is shifted and scaled so that it keeps its first value and ends at zero.

    Raises:
        InputError: a schedule other than linear or scaled_linear.
    """
    if beta_schedule == "linear":
        betas = np.linspace(beta_start, beta_end, num_train_timesteps)
    elif beta_schedule == "scaled_linear":
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
    else:
        raise InputError(f"beta_schedule {shown(beta_schedule)} cannot be rescaled; use linear or scaled_linear")
    root = np.sqrt(np.cumprod(1.0 - betas))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def _zero_snr_betas(alpha_bar: np.ndarray) -> list[float]:
    """Betas for solvers in terms of sigma, which divide by the last alpha_bar."""
    lower = [value / 2 for value in alpha_bar[-2:-1] if value <= _LAST_ALPHA_BAR]  # of a schedule of much noise
    last = min([_LAST_ALPHA_BAR, *lower])
    alpha_bar = np.concatenate([[1.0], alpha_bar[:-1], [last]])
    return (1.0 - alpha_bar[1:] / alpha_bar[:-1]).tolist()


def _set_schedule(scheduler: Any, alpha_bar: np.ndarray) -> None:
    """Replace a rescaled schedule by the exact one: ppdiffusers rescales in fp32, which costs 1e-5 at timestep 0."""
    betas = 1.0 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])
    scheduler.betas = paddle.to_tensor(betas, dtype="float32")
    scheduler.alphas = paddle.to_tensor(1.0 - betas, dtype="float32")
    scheduler.alphas_cumprod = paddle.to_tensor(alpha_bar, dtype="float32")


def make_scheduler(name: object = "DDIM", options: dict[str, Any] | None = None) -> Any:
    """A scheduler from its name and its options (`sampler` and `noise_scheduler_kwargs` of the YAML).

    Options that DDIM knows may stay in the YAML when another scheduler is chosen: what has no meaning for it is left
    out with a log line, what it cannot do is an error.

    Raises:
        InputError: an unknown scheduler or option (the message names the nearest), or an option that cannot be served.
    """
    cls = scheduler_class(name)
    known, of_ddim = _parameters(cls), _parameters(DDIMScheduler)
    if options is not None and not isinstance(options, dict):
        raise InputError(f"the options of {cls.__name__} are {shown(options)}; a mapping of options is accepted")
    options = dict(options or {})
    RULES.check(options, f"the options of {cls.__name__}")
    for option in options:
        if option not in known and option not in of_ddim:
            near = nearest(str(option), sorted({*known, *of_ddim}))
            meant = "" if near is None else f"did you mean {near!r}? "
            raise InputError(
                f"scheduler option {shown(option)} is not known to {cls.__name__}; {meant}{', '.join(sorted(known))} "
                "are accepted"
            )
    alpha_bar = None
    if options.get("rescale_betas_zero_snr"):
        schedule = {key: options.get(key, _default(key)) for key in _SCHEDULE}
        alpha_bar = zero_snr_alpha_bar(**schedule)
        if "rescale_betas_zero_snr" not in known and "trained_betas" in known:
            del options["rescale_betas_zero_snr"]
            options["trained_betas"], alpha_bar = _zero_snr_betas(alpha_bar), None
    for option in [option for option in options if option not in known]:
        value = options.pop(option)
        if option in _SKIPPABLE:
            logger.info("%s has no option %s; it is left out", cls.__name__, option)
        elif value != _default(option):
            raise InputError(
                f"{cls.__name__} has no option {shown(option)}, and the model needs {option}={shown(value)}"
            )
    try:
        scheduler = cls(**options)
    except _NO_SUCH_SCHEDULE as error:
        raise InputError(f"the options of {cls.__name__} do not fit ({_reason(error)}); others are needed") from error
    if alpha_bar is not None:
        _set_schedule(scheduler, alpha_bar)
    return scheduler


def _reason(error: BaseException) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__, 200)


def set_steps(scheduler: Any, steps: int) -> None:
    """Set the timesteps of a scheduler. Raises InputError where it has none for so many steps."""
    try:
        scheduler.set_timesteps(steps)
        last = float(max(scheduler.timesteps))
    except _NO_SUCH_SCHEDULE as error:
        raise _no_steps(scheduler, steps, _reason(error)) from error
    most = scheduler.config.get("num_train_timesteps", _MOST_TIMESTEPS)
    if last > most:
        raise _no_steps(scheduler, steps, f"timestep {last:g} is above {most}")


def _no_steps(scheduler: Any, steps: int, reason: str) -> InputError:
    name = type(scheduler).__name__
    return InputError(
        f"{name} cannot take {steps} steps ({reason}); another number of steps, or another scheduler, is accepted"
    )


def check_scheduler(scheduler: Any, steps: int) -> None:
    """Raises InputError for a scheduler with which so many steps cannot be made: it tries the first on one number.

    A schedule of which that is no finite number gives no picture.
    """
    set_steps(scheduler, steps)
    latents = paddle.ones([1, 1, 1, 1, 1])
    try:
        timestep = scheduler.timesteps[0]
        scaled = scheduler.scale_model_input(latents * scheduler.init_noise_sigma, timestep)
        result = float(scheduler.step(latents, timestep, scaled).prev_sample.sum())
    except (*_NO_SUCH_SCHEDULE, AttributeError) as error:
        raise _no_steps(scheduler, steps, _reason(error)) from error
    if not math.isfinite(result):
        raise _no_steps(scheduler, steps, f"the first gives {result}")


def _default(option: str) -> Any:
    return inspect.signature(DDIMScheduler.__init__).parameters[option].default
