"""Keeping of what EasyAnimate's frozen networks make of the clips: the command `scripts.cache_latents`, and its cache.

Latents are kept as their mean and deviation, so that training draws them anew each time, as it does without a cache.
"""

import logging
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.errors import InputError, counted, printable
from ppdiffusers_ext.pipelines.easy_animate import video_coding
from ppdiffusers_ext.training.easy_animate.data import Clips
from ppdiffusers_ext.training.easy_animate.encoders import Encoders
from ppdiffusers_ext.training.easy_animate.latent_cache import Arrays, fill
from ppdiffusers_ext.training.easy_animate.networks import Networks
from ppdiffusers_ext.training.easy_animate.objective import text_arrays
from ppdiffusers_ext.training.easy_animate.options import EasyDataArguments, EasyModelArguments
from ppdiffusers_ext.weights.arrays import to_array

logger = logging.getLogger(__name__)

_EVERY = 100  # clips from one line of the log to the next


def make_cache(
    model_arguments: EasyModelArguments, data_arguments: EasyDataArguments, training_arguments: Any, clips: Clips
) -> None:
    """Fill the cache that a training with the same options reads.

    Args:
        data_arguments: with --latent_cache.
        others: see `run.train`.

    Raises:
        InputError: too many clips cannot be read.
    """
    data, arguments = data_arguments, training_arguments
    networks = Networks.of(model_arguments, arguments)
    components = networks.load()
    settings = data.settings(video_coding.frames_multiple(components["vae"]))
    cache = networks.open_cache(data, settings, arguments.seed)
    every = [*clips.training, *clips.held_out]
    cache.look_at(every)
    encoders = Encoders.of_components(components, 1, is_guest=False)
    done = 0

    def tell(clip: Any, problem: str | None) -> None:
        nonlocal done
        done += 1
        if problem:
            logger.warning("%s cannot be read and is left out: %s", printable(clip.path), printable(problem, 200))
        if done % _EVERY == 0 or done == len(every):
            logger.info("latents of %d of %s are in %s", done, counted(len(every), "clip"), data.latent_cache)

    bad = fill(cache, every, lambda batch: encode(encoders, batch), lambda text: embed(encoders, text), tell)
    if bad > data.max_bad_share * len(every):
        raise InputError(
            f"{bad} of {counted(len(every), 'clip')} cannot be read, which is more than --max_bad_share "
            f"{data.max_bad_share}; scripts.check_dataset finds them, or a larger share is accepted"
        )


def encode(encoders: Encoders, batch: dict[str, Any]) -> Arrays:
    """What is kept of a batch of one sample: `Encoders.view` without the axis of the batch."""
    tensors = {name: paddle.to_tensor(x) if isinstance(x, np.ndarray) else x for name, x in batch.items()}
    return {name: to_array(_whole(tensor)[0]) for name, tensor in encoders.view(tensors).items()}


def embed(encoders: Encoders, text: str) -> Arrays:
    """What is kept of a text: `text_arrays` without the axis of the batch."""
    return {name: array[0] for name, array in text_arrays(encoders.embed_texts([text])).items()}


def _whole(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor.astype("float32") if tensor.is_floating_point() else tensor
