"""What the calls of all pipelines share: arguments, noise, kinds of output, callbacks, chunks without gradients."""

import functools
import inspect
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import paddle
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.utils import BaseOutput
from ppdiffusers.utils.paddle_utils import get_rng_state_tracker

from ppdiffusers_ext.errors import InputError, NonFiniteError, shown, suggestion
from ppdiffusers_ext.options import SEEDS, check_number, choose_seed, is_number

OUTPUT_TYPES = ("pd", "np", "pil", "latent")
CALLBACK_TENSORS = ("latents",)


@dataclass
class PipelineOutput(BaseOutput):
    """`frames`: what `output_type` asked for; see the pipeline's `__call__`."""

    frames: Any


class UnknownArgumentError(InputError, TypeError):
    """A call was given an argument that it does not have."""


def pipeline_call(call: Callable) -> Callable:
    """Decorate a pipeline's `__call__`: no gradients; an unknown argument is an error that names the nearest."""
    known = [name for name in inspect.signature(call).parameters if name != "self"]

    @functools.wraps(call)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        for name in options:
            if name not in known:
                what = f"unknown argument of {type(self).__name__}: {shown(name)}"
                raise UnknownArgumentError(f"{what}; {suggestion(name, known)}")
        with paddle.no_grad():
            return call(self, *arguments, **options)

    return checked


def as_generator(generator: Any) -> Any:
    """A generator as ppdiffusers draws noise with, or a list of them, for what a call was given; None stays.

    ppdiffusers replaces `paddle.Generator` by a table of states, whose `manual_seed` gives the name of a new one.

    Args:
        generator: such a name, a generator of Paddle's own, or a seed; or a list of these, one for each video.

    Raises:
        InputError: it is none of these.
    """
    table = get_rng_state_tracker()
    if generator is None or (isinstance(generator, str) and generator in table.states_):
        return generator
    if isinstance(generator, (list, tuple)) and generator and None not in generator:
        return [as_generator(each) for each in generator]
    if isinstance(generator, paddle.base.core.Generator):
        return _seeded(generator.random())
    if not is_number(generator, is_whole=True):
        accepted = "paddle.Generator().manual_seed(seed), or the seed alone, is accepted"
        raise InputError(f"generator is {shown(generator)}; {accepted}")
    check_number("generator", generator, *SEEDS, is_whole=True)
    return _seeded(choose_seed(int(generator)))


def _seeded(seed: int) -> str:
    return get_rng_state_tracker().manual_seed(seed, f"{seed}-{secrets.token_hex(8)}")


def chunks_without_gradients(make: Callable) -> Callable:
    """Decorate a generator function: gradients are off while it computes, and as they were while its caller does.

    `paddle.no_grad` leaves them off for the caller as well, for as long as the generator waits.
    """

    @functools.wraps(make)
    def chunks(*arguments: Any, **options: Any) -> Iterator[Any]:
        made = make(*arguments, **options)
        try:
            while True:
                with paddle.no_grad():
                    try:
                        chunk = next(made)
                    except StopIteration:
                        return
                yield chunk
        finally:
            made.close()

    return chunks


def to_output(chunks: Iterable[paddle.Tensor], output_type: str) -> Any:
    """Decoded frames as a pipeline returns them.

    Args:
        chunks: iterable of (n, 3, height, width) tensors in [0, 1].
        output_type: "pd" or "np" for (1, 3, frames, height, width), "pil" for a list of pictures.
    """
    frames = paddle.concat(list(chunks), axis=0)  # (frames, 3, height, width)
    if output_type == "pil":
        return VaeImageProcessor.numpy_to_pil(VaeImageProcessor.pd_to_numpy(frames))
    video = frames.transpose([1, 0, 2, 3]).unsqueeze(0)  # (1, 3, frames, height, width)
    return video.numpy() if output_type == "np" else video


def check_call(output_type: Any, callback: Any, tensor_inputs: Any = CALLBACK_TENSORS) -> None:
    """Refuse, before anything is computed, an output or a callback that no pipeline has.

    Args:
        output_type: one of `OUTPUT_TYPES`.
        callback: None, or called as `(pipeline, step, timestep, {"latents": ...})` after every step.
        tensor_inputs: names of what the dict is to have, of `CALLBACK_TENSORS`.

    Raises:
        InputError: something else.
    """
    if not isinstance(output_type, str) or output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type {shown(output_type)} is not known; use one of {', '.join(OUTPUT_TYPES)}")
    if callback is not None and not callable(callback):
        raise InputError(
            f"callback_on_step_end {shown(callback)} cannot be called; a function of the pipeline, the step, the "
            "timestep and a dict is accepted"
        )
    names = tensor_inputs if isinstance(tensor_inputs, (list, tuple)) else [tensor_inputs]
    if any(name not in CALLBACK_TENSORS for name in names):
        raise InputError(
            f"callback_on_step_end_tensor_inputs {shown(tensor_inputs)} is not known; use {list(CALLBACK_TENSORS)}"
        )


def after_step(
    pipeline: Any, callback: Any, tensor_inputs: Any, step: int, timestep: Any, latents: paddle.Tensor
) -> paddle.Tensor:
    """Call a callback after a step.

    Args:
        callback, tensor_inputs: see `check_call`.
        latents: after the step.

    Returns:
        The latents that the next step begins from: those in the dict that the callback returns, or, where it returns
        None or a dict without them, the same.

    Raises:
        InputError: it returned something else, or latents of another shape.
        NonFiniteError: its latents are not finite.
    """
    if callback is None:
        return latents
    returned = callback(pipeline, step, timestep, dict.fromkeys(tensor_inputs, latents))
    if returned is None:
        return latents
    if not isinstance(returned, dict) or set(returned) - set(CALLBACK_TENSORS):
        raise InputError(f"callback_on_step_end returned {shown(returned)}; None or a dict with latents is accepted")
    replaced = returned.get("latents", latents)
    if replaced is latents:
        return latents
    if not isinstance(replaced, paddle.Tensor) or list(replaced.shape) != list(latents.shape):
        what = list(replaced.shape) if isinstance(replaced, paddle.Tensor) else type(replaced).__name__
        raise InputError(
            f"callback_on_step_end returned latents of {what}; a tensor of {list(latents.shape)} is needed"
        )
    if not bool(paddle.isfinite(replaced).all()):
        raise NonFiniteError(f"the latents that callback_on_step_end returned after step {step + 1} are not finite")
    return replaced.astype(latents.dtype)
