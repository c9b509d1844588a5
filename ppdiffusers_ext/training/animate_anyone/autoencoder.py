"""Training of the autoencoder that makes the latents of the animation networks.

Latent diffusion (Rombach et al. 2022, arXiv:2112.10752) without its adversarial and perceptual losses, which need
other networks: absolute and squared error of the pixels, and a weak KL divergence of the latents from normal noise.
For small models of simple pictures; photographs come out blurred.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from ppdiffusers import AutoencoderKL

from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, TrainingPictures, choose_image
from ppdiffusers_ext.metrics.video import VideoMetrics
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.training.animate_anyone.check import check_files_of_autoencoder
from ppdiffusers_ext.training.animate_anyone.data import make_samples
from ppdiffusers_ext.training.animate_anyone.options import AutoencoderArguments, DataArguments
from ppdiffusers_ext.training.arguments import TrainingArguments
from ppdiffusers_ext.training.autoencoders import narrow, scaling_factor
from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.training.sheets import labelled_sheet
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.training.validation import to_pictures
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.folders import read_config


def train_autoencoder(
    model_arguments: AutoencoderArguments,
    data_arguments: DataArguments,
    arguments: TrainingArguments,
    clips: Any = None,
) -> PartsTrainer:
    """Train an `AutoencoderKL` on frames of clips, from the newest checkpoint in the output folder if there is one.

    Writes the folder `vae` into the output folder, with weights and a config whose scaling factor gives latents of
    unit variance. Returns the trainer. Raises the errors of `fit`.

    Args:
        clips: what `check_files_of_autoencoder` returned, if it was called.
    """
    clips = clips or check_files_of_autoencoder(model_arguments, data_arguments, arguments)
    config = known_options(AutoencoderKL, read_config(model_arguments.vae_config_path))
    with reproducible_start(arguments.seed):
        vae = use_own_layers(AutoencoderKL(**config))
    narrow(vae)
    if model_arguments.vae_model_path:
        load_weights(vae, model_arguments.vae_model_path)
    choose = functools.partial(choose_image, margin=data_arguments.sample_margin)
    samples, held_out = make_samples(clips, data_arguments, arguments, choose, TrainingPictures)
    settings = {
        "stage": "autoencoder",
        "width": data_arguments.train_width,
        "height": data_arguments.train_height,
    }
    weights = (model_arguments.kl_weight, model_arguments.colour_weight, model_arguments.square_weight)
    objective = AutoencoderObjective(arguments.seed, *weights)
    model = _Wrapped(vae)
    validate = functools.partial(_validate, vae, held_out) if held_out else None
    part = {"vae": TrainedPart(vae)}
    training = Training(model, part, objective, samples, collate, settings, held_out, validate)
    trainer = fit(training, data_arguments, arguments)
    if arguments.process_index == 0:
        with trainer.trained_weights():
            factor = scaling_factor(vae, samples, lambda sample: collate([sample])["pixels"])
            vae.register_to_config(scaling_factor=factor)
            vae.save_pretrained(str(Path(arguments.output_dir) / "vae"), safe_serialization=True)
    return trainer


class _Wrapped(nn.Layer):
    """An autoencoder, for the trainer: paddlenlp saves a model of ppdiffusers' kind in ways of its own."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, pixels: paddle.Tensor, noise: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """pixels (n, 3, h, w), noise like the latents -> pixels, mean and logarithm of the variance of the latents."""
        posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * noise  # (n, channels, h / 8, w / 8)
        return self.vae.decode(latents).sample, posterior.mean, posterior.logvar


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch of samples of `TrainingPictures`."""
    return {
        "pixels": np.stack([sample["pixel_values"][:, 0] for sample in samples]),  # (batch, 3, h, w) in [-1, 1]
        "index": np.array([sample["index"] for sample in samples], np.int64),
        "clips": [sample["clip"] for sample in samples],
        "failures": [failure for sample in samples for failure in sample["failures"]],
    }


class AutoencoderObjective:
    """Loss of one batch of `collate`. Its noise depends only on the run's seed and the numbers of the samples.

    Args:
        seed: of the noise.
        kl_weight: of the mean divergence of a latent number from normal noise.
        colour_weight: of the error of colours, beside that of brightness. Colours differ less than brightness does,
            and a small model spends itself on edges first: with 1 it may lose a whole direction of colour.
        square_weight: of the mean squared error, beside the mean absolute one, which is far larger near the end.
    """

    def __init__(self, seed: int, kl_weight: float, colour_weight: float = 1.0, square_weight: float = 1.0) -> None:
        self._seed, self._kl_weight = seed, kl_weight
        self._colour_weight, self._square_weight = colour_weight, square_weight

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        """Returns the loss, a scalar tensor."""
        pixels = batch["pixels"]
        vae = getattr(model, "_layers", model).vae
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        shape = (1, vae.config.latent_channels, pixels.shape[2] // scale, pixels.shape[3] // scale)
        rngs = [np.random.default_rng([self._seed, int(index)]) for index in batch["index"]]
        noise = np.concatenate([rng.standard_normal(shape, np.float32) for rng in rngs])
        decoded, mean, log_variance = model(pixels, paddle.to_tensor(noise))
        error = decoded.astype("float32") - pixels
        of_brightness = error.mean(1, keepdim=True)  # (batch, 1, h, w)
        error = of_brightness + self._colour_weight * (error - of_brightness)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).astype("float32").mean()
        of_pixels = error.abs().mean() + self._square_weight * error.square().mean()
        return of_pixels + self._kl_weight * divergence

    def describe(self, batch: dict[str, Any]) -> str:
        """Text that names the batch for messages."""
        return ", ".join(batch["clips"])


@paddle.no_grad()
def _validate(vae: AutoencoderKL, samples: TrainingClips, step: int) -> tuple[dict[str, float], np.ndarray]:
    """Numbers of how well the held-out clips' frames come back, and a picture of truth and what came."""
    metrics, rows = VideoMetrics(), []
    for index in range(len(samples)):
        pixels = collate([samples[index]])["pixels"]
        decoded = vae.decode(vae.encode(paddle.to_tensor(pixels)).latent_dist.mean).sample.numpy()
        truth, prediction = (to_pictures(values.transpose(1, 0, 2, 3), -1) for values in (pixels, decoded))
        for frames in zip(prediction, truth):
            metrics.add(*frames)
        rows.append((f"clip {index + 1}", [("truth", truth[0]), ("result", prediction[0])]))
    numbers = metrics.result()
    return {name: numbers[name] for name in ("psnr", "ssim", "l1")}, labelled_sheet(f"step {step}", rows)
