"""Training of EasyAnimate's video autoencoder, with the discriminators that it is trained against.

As aigc-apps/EasyAnimate (`easyanimate/vae`, `scripts/train_vae.py`). What differs is in docs/training.md.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.data.easy_animate.square_clips import SquareClips, SquareSettings
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.easy_animate.checkpoint import options_of, original_config
from ppdiffusers_ext.models.metrics.lpips import LPIPS
from ppdiffusers_ext.pipelines.loading import build
from ppdiffusers_ext.training.arguments import TrainingArguments
from ppdiffusers_ext.training.autoencoders import narrow, scaling_factor
from ppdiffusers_ext.training.draws import Draws, make_batch
from ppdiffusers_ext.training.easy_animate.autoencoder_check import check_files_of_video_vae, perceptual_files
from ppdiffusers_ext.training.easy_animate.autoencoder_losses import (
    AutoencoderLoss,
    Decoded,
    Discriminators,
    LossWeights,
)
from ppdiffusers_ext.training.easy_animate.autoencoder_model import VideoVae
from ppdiffusers_ext.training.easy_animate.autoencoder_options import (
    VideoVaeArguments,
    VideoVaeDataArguments,
    shared_settings,
)
from ppdiffusers_ext.training.easy_animate.inflation import inflate
from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.latents import hold
from ppdiffusers_ext.training.options import samples_of_a_step
from ppdiffusers_ext.training.parts import TrainedPart, train_only
from ppdiffusers_ext.training.second import SecondObjective
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.training.validation import Case, Validation, to_pictures
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.folders import find_weights, read_config

_PART = "vae"
_DECODER, _ENCODER = ("vae.decoder.", "vae.post_quant_conv."), ("vae.encoder.", "vae.quant_conv.")


def train_video_vae(
    model_arguments: VideoVaeArguments,
    data_arguments: VideoVaeDataArguments,
    arguments: TrainingArguments,
    clips: Any = None,
) -> PartsTrainer:
    """Train an `AutoencoderKLMagvit`, from the newest checkpoint in the output folder if there is one.

    Checkpoints and the output folder have a folder `vae` in the original's form, which the pipelines load. Returns the
    trainer. Raises the errors of `fit`.

    Args:
        clips: what `check_files_of_video_vae` returned, if it was called.
    """
    clips = clips or check_files_of_video_vae(model_arguments, data_arguments, arguments)
    if arguments.scale_lr:
        arguments.learning_rate *= samples_of_a_step(arguments)
    with reproducible_start(arguments.seed):
        vae = make_vae(model_arguments)
        model = VideoVae(vae, model_arguments.gradient_checkpointing)
        discriminators = Discriminators() if model_arguments.uses_discriminators else None
    check_length(vae, data_arguments.video_len)
    freeze(model, model_arguments)
    samples, held_out = _make_samples(clips, data_arguments, arguments)
    losses = AutoencoderLoss(weights_of(model_arguments), read_perceptual(model_arguments), discriminators)
    objective = VideoVaeObjective(losses, arguments.seed, samples_of_a_step(arguments))
    second = None
    if discriminators is not None:
        judge = functools.partial(objective.of_discriminators, model)
        second = SecondObjective(discriminators, judge, "discriminators", objective.describe, objective.numbers)
    part = TrainedPart(vae, config=original_config)
    training = Training(
        model,
        {_PART: part},
        objective,
        samples,
        collate,
        shared_settings(model_arguments, data_arguments),
        held_out,
        Validation(functools.partial(_reconstruct, vae), functools.partial(_cases, held_out)) if held_out else None,
        second=second,
    )
    trainer = fit(training, data_arguments, arguments)
    is_new = not model_arguments.ckpt_path or model_arguments.inflate
    if is_new and arguments.process_index == 0:
        with trainer.trained_weights():
            factor = scaling_factor(vae, samples, lambda sample: sample["pixel_values"][None])
            vae.register_to_config(scaling_factor=factor)
            part.save(part.path(arguments.output_dir, _PART))
    return trainer


def make_vae(arguments: VideoVaeArguments) -> AutoencoderKLMagvit:
    """The autoencoder that training starts from.

    Raises:
        InputError: the configuration or the weights are those of another network.
    """
    source = Path(arguments.vae_config_path)
    options = options_of(AutoencoderKLMagvit, read_config(source), source, arguments.of_config())
    build(AutoencoderKLMagvit, options, source)  # tells what does not fit
    vae = AutoencoderKLMagvit(**options)
    if arguments.ckpt_path:
        load_weights(vae, find_weights(arguments.ckpt_path))
        if arguments.inflate:
            inflate(vae)
    else:
        narrow(vae)
    return vae


def check_length(vae: AutoencoderKLMagvit, frames: int) -> None:
    """Raise InputError for a number of frames that does not come back from the autoencoder."""

    def comes_back(count: int) -> bool:
        return vae.frames_of(vae.latents_of(count)) == count

    if not comes_back(frames):
        near = [str(count) for count in range(max(frames - 9, 1), frames + 10) if comes_back(count)]
        raise InputError(
            f"--video_len {frames} is encoded to {vae.latents_of(frames)} frames of latents, which are decoded to "
            f"{vae.frames_of(vae.latents_of(frames))} frames; {', '.join(near)} are accepted"
        )


def weights_of(arguments: VideoVaeArguments) -> LossWeights:
    """The weights of the loss that options name."""
    return LossWeights(**{item.name: getattr(arguments, item.name) for item in dataclasses.fields(LossWeights)})


def read_perceptual(arguments: VideoVaeArguments) -> LPIPS | None:
    """LPIPS, frozen; None where it has no part in the loss."""
    if not arguments.uses_perceptual:
        return None
    perceptual = LPIPS()
    load_weights(perceptual, *perceptual_files(arguments.perceptual))
    hold(perceptual)
    return perceptual


def freeze(model: VideoVae, arguments: VideoVaeArguments) -> None:
    """Freeze what options leave as it is."""
    trained = _DECODER if arguments.train_decoder_only else _ENCODER if arguments.train_encoder_only else ("",)
    train_only(model, lambda name: name.startswith(trained))


def _make_samples(
    clips: tuple[list, list], data: VideoVaeDataArguments, arguments: TrainingArguments
) -> tuple[SquareClips, SquareClips | None]:
    settings = SquareSettings(**{item.name: getattr(data, item.name) for item in dataclasses.fields(SquareSettings)})
    training, held_out = clips
    batch = arguments.per_device_train_batch_size
    length = arguments.max_steps * samples_of_a_step(arguments)
    samples = SquareClips(training, length, arguments.seed, settings, batch)
    return samples, SquareClips(held_out, len(held_out), arguments.seed, settings, 1) if held_out else None


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch of samples of `SquareClips`. Raises InputError for samples of different shapes."""
    shapes = {sample["pixel_values"].shape for sample in samples}
    if len(shapes) > 1:
        told = ", ".join(f"{shape[1]} x {shape[2]} x {shape[3]}" for shape in sorted(shapes))
        raise InputError(f"samples of one batch have different shapes ({told}); samples of one shape are accepted")
    return make_batch(samples, ["pixel_values"])  # (batch, 3, frames, side, side) in [-1, 1]


class VideoVaeObjective:
    """Loss of one batch of `collate`. Its noise depends only on the run's seed and the numbers of the samples.

    Args:
        losses: `AutoencoderLoss`.
        seed: of the noise.
        samples_per_step: samples of an optimisation step, by which a sample's number says of which step it is.

    Attributes:
        numbers: parts of the last batch's losses, by name.
    """

    def __init__(self, losses: AutoencoderLoss, seed: int, samples_per_step: int) -> None:
        self._losses, self._draws, self._samples_per_step = losses, Draws(seed), samples_per_step
        self.numbers: dict[str, paddle.Tensor] = {}

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        """Returns the loss, a scalar tensor."""
        decoded = self._decode(model, batch, "latents")
        loss, numbers = self._losses.of_autoencoder(batch["pixel_values"], decoded, self._step_of(batch))
        if paddle.is_grad_enabled():
            self.numbers.update(numbers)
        return loss

    def of_discriminators(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor | None:
        """Returns the loss of the discriminators, or None in steps in which they have no part.

        The autoencoder's step has been made, and its clips are decoded once more, from other noise.
        """
        if not self._losses.is_adversarial(self._step_of(batch)):
            return None
        with paddle.no_grad():
            decoded = self._decode(model, batch, "latents of discriminators")
        loss, numbers = self._losses.of_discriminators(batch["pixel_values"], decoded.clips)
        self.numbers.update(numbers)
        return loss

    def describe(self, batch: dict[str, Any]) -> str:
        """Text that names the batch for messages."""
        return ", ".join(batch["clips"])

    def _step_of(self, batch: dict[str, Any]) -> int:
        return int(batch["index"][0]) // self._samples_per_step

    def _decode(self, model: nn.Layer, batch: dict[str, Any], purpose: str) -> Decoded:
        pixels = batch["pixel_values"]
        wrapped: Any = getattr(model, "_layers", model)
        shape = wrapped.latent_shape(pixels.shape)
        noise = self._draws.normals([int(index) for index in batch["index"]], purpose, shape)
        clips, mean, logvar = model(pixels, noise)
        return Decoded(clips, mean, logvar, wrapped.last_weight)


class _Original(Case):
    """A held-out clip."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth


def _cases(samples: SquareClips) -> Iterator[_Original]:
    for index in range(len(samples)):
        yield _Original(to_pictures(samples[index]["pixel_values"], -1))


def _reconstruct(vae: AutoencoderKLMagvit, case: _Original, index: int) -> np.ndarray:
    """What comes back of the most likely latents: (frames, H, W, 3) uint8."""
    assert case.truth is not None
    pixels = (case.truth / 127.5 - 1).astype(np.float32).transpose(3, 0, 1, 2)[None]
    decoded = vae.decode(vae.encode(paddle.to_tensor(pixels)).latent_dist.mean).sample
    return to_pictures(decoded[0].astype("float32").numpy(), -1)
