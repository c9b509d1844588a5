"""Runner of the golden cases of the video autoencoder's training: yields (name, ours, the original's, tolerance)."""

import numpy as np
import paddle

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.metrics.lpips import LPIPS
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.training.easy_animate.autoencoder_losses import (
    AutoencoderLoss,
    Decoded,
    Discriminators,
    LossWeights,
    frames_of,
)
from ppdiffusers_ext.weights.assignment import set_weights
from ppdiffusers_ext.weights.conversion import to_paddle_names
from tests.support.golden import read_manifest

MODULE = 1e-4
RELATIVE = 2e-5  # of losses that are sums over pixels, and of what is made of them
# Of gradients, of their largest value. VGG's ReLUs and maxima let one through or not where rounding decides: noise of
# 2e-6 in the pictures changes the gradient there by up to 2.7e-3 of its largest value.
GRADIENT = 5e-3
# Modes of the autoencoder. Without one, the original takes a clip at once: one chunk of V2's way.
_MODES = ("slice_mag_vae", "slice_compression_vae", "cache_compression_vae")


def vae_training(case):
    """A step of the autoencoder and one of the discriminators, of each of its modes, before and after disc_start."""
    outputs, cases = case.tensors("outputs"), case.config["cases"]
    loss = case.config["loss"]
    statistics = {}
    perceptual, discriminators = _fill(case, LPIPS(), "perceptual_loss"), Discriminators()
    for part in ("discriminator", "discriminator3d"):
        _fill(case, getattr(discriminators, part), part)
    discriminators.train()
    with paddle.enable_grad():
        for name, settings in cases.items():
            weights = LossWeights(
                **{f"{kind}_loss_weight": settings[kind] for kind in ("l1", "l2")},
                **{key: loss[key] for key in ("perceptual_weight", "disc_weight", "disc_factor", "disc_loss")},
                disc_start=loss["disc_start"],
                kl_weight=settings["kl"],
            )
            runner = _Step(case, name, AutoencoderLoss(weights, perceptual, discriminators), discriminators)
            yield from runner.rows(perceptual)
            statistics[name] = runner.statistics
    yield from _statistics(outputs, statistics)


def _fill(case, model, name):
    path = case.folder / case.json("weights.json")[name]
    tensors = {key.removeprefix(f"{name}."): paddle.to_tensor(value) for key, value in read_manifest(path).items()}
    set_weights(model, to_paddle_names(model, tensors, "torch"), path, may_miss=("._mean", "._variance"))
    model.eval()
    return model


class _Step:
    """The steps of one clip."""

    def __init__(self, case, name, loss, discriminators):
        self.name, self.loss, self.discriminators = name, loss, discriminators
        inputs, self.outputs, self.settings = (
            case.tensors("inputs"),
            case.tensors("outputs"),
            case.config["cases"][name],
        )
        self.video, self.noise = inputs[f"{name}.video"], inputs[f"{name}.eps"]
        flags = {mode: mode == self.settings["mode"] for mode in _MODES}
        if self.settings["mode"] is None:
            frames = self.video.shape[2]
            flags |= {"slice_mag_vae": True, "mini_batch_encoder": frames, "mini_batch_decoder": frames}
        options = {**case.config["vae"], **flags}
        options["block_out_channels"] = [options["ch"] * factor for factor in options["ch_mult"]]
        self.vae = case.fill("vae", AutoencoderKLMagvit(**known_options(AutoencoderKLMagvit, options)))
        self.statistics = {}

    def rows(self, perceptual):
        for step, expected in self.settings["steps"].items():
            _reset(self.discriminators)
            decoded = self._decode()
            total, numbers = self.loss.of_autoencoder(self.video, decoded, int(step))
            is_weighted = "d_weight" in numbers  # by a ratio of gradients
            for part in ("kl_loss", "nll_loss", "rec_loss"):
                yield self._relative(f"{part} at {step}", numbers[part], expected[part])
            tolerance = GRADIENT if is_weighted else RELATIVE
            yield self._relative(f"total_loss at {step}", total, expected["total_loss"], tolerance)
            if is_weighted:
                yield self._relative(f"d_weight at {step}", numbers["d_weight"], expected["d_weight"], GRADIENT)
                yield f"{self.name} g_loss at {step}", numbers["g_loss"], expected["g_loss"], MODULE
            total.backward()
            yield from self._of_parts(step, self.vae, expected["gradient_norms"])
            if "discriminator" in expected:
                yield from self._tensors(decoded, perceptual)
                yield from self._gradients(self.vae)
            self.vae.clear_gradients()
            if "discriminator" in expected:
                yield from self._discriminator_rows(step, decoded, expected["discriminator"])

    def _decode(self):
        posterior = self.vae.encode(self.video).latent_dist
        decoded = self.vae.decode(posterior.mean + posterior.std * self.noise).sample
        return Decoded(decoded, posterior.mean, posterior.logvar, self.vae.decoder.conv_out.weight)

    def _discriminator_rows(self, step, decoded, expected):
        self.statistics["fake"] = _of_norms(self.discriminators)
        loss, numbers = self.loss.of_discriminators(self.video, decoded.clips)
        self.statistics["fake, real, fake"] = _of_norms(self.discriminators)
        for part in ("disc_loss", "logits_real", "logits_fake"):
            yield f"{self.name} {part} at {step}", numbers[part], expected[part], MODULE
        loss.backward()
        yield from self._of_parts(step, self.discriminators, expected["gradient_norms"])
        yield from self._gradients(self.discriminators)
        self.discriminators.clear_gradients()

    def _tensors(self, decoded, perceptual):
        for key, ours in (("reconstruction", decoded.clips), ("mean", decoded.mean), ("logvar", decoded.logvar)):
            yield f"{self.name}.{key}", ours, self.outputs[f"{self.name}.{key}"], MODULE
        with paddle.no_grad():
            distances = perceptual(frames_of(self.video), frames_of(decoded.clips))
            kept = _of_norms(self.discriminators)
            of_frames, fake = self.discriminators(decoded.clips)
            _, real = self.discriminators(self.video)
            _set_norms(self.discriminators, kept)
        expected = {key: self.outputs[f"{self.name}.{key}"] for key in ("lpips", "logits_2d_fake")}
        yield f"{self.name}.lpips", distances, expected["lpips"].flatten(), MODULE
        yield f"{self.name}.logits_2d_fake", of_frames, expected["logits_2d_fake"], MODULE
        for key, ours in (("logits_3d_fake", fake), ("logits_3d_real", real)):
            yield f"{self.name}.{key}", ours, self.outputs[f"{self.name}.{key}"], MODULE

    def _of_parts(self, step, model, expected):
        for part, norm in expected.items():
            layers = getattr(model, part)
            squares = [
                np.square(p.grad.numpy().astype(np.float64)).sum() for p in layers.parameters() if p.grad is not None
            ]
            yield self._relative(f"gradient of {part} at {step}", np.sqrt(sum(squares)), norm, GRADIENT)

    def _gradients(self, model):
        own = dict(model.named_parameters())
        for key, expected in self.outputs.items():
            name = key.removeprefix(f"{self.name}.grad.")
            if name == key or name not in own:
                continue
            ours, expected = own[name].grad.numpy(), expected.numpy()
            if ours.ndim == 2:  # Linear: torch's is transposed
                expected = expected.T
            scale = max(np.abs(expected).max(), 1e-3)
            yield key, ours / scale, expected / scale, GRADIENT

    def _relative(self, what, ours, expected, tolerance=RELATIVE):
        scale = max(abs(expected), 1e-3)
        return f"{self.name} {what}", float(ours) / scale, expected / scale, tolerance


def _norms(discriminators):
    return [
        (f"discriminator.{name}", layer)
        for name, layer in discriminators.discriminator.named_sublayers()
        if hasattr(layer, "_mean")
    ]


def _of_norms(discriminators):
    return {name: (layer._mean.clone(), layer._variance.clone()) for name, layer in _norms(discriminators)}


def _set_norms(discriminators, kept):
    for name, layer in _norms(discriminators):
        for tensor, value in zip((layer._mean, layer._variance), kept[name]):
            tensor.set_value(value)


def _reset(discriminators):
    for _, layer in _norms(discriminators):
        layer._mean.set_value(paddle.zeros_like(layer._mean))
        layer._variance.set_value(paddle.ones_like(layer._variance))


def _statistics(outputs, statistics):
    """The batch norms' running statistics.

    They are of three batches (fake, real, fake) of each case. Sets in which all cases share one tensor were stored by
    reference: those have what was there when the last step of the last case began: one batch, the fake one.
    """
    keys = {name: [key for key in outputs if key.startswith(f"{name}.after.")] for name in statistics}
    shared = len(statistics) > 1 and all(
        np.array_equal(outputs[f"{name}.after.{key.partition('.after.')[2]}"], outputs[key])
        for name in statistics
        for key in keys[list(statistics)[-1]]
    )
    for name in statistics:
        of_case = statistics[list(statistics)[-1]]["fake"] if shared else statistics[name]["fake, real, fake"]
        for key in keys[name]:
            layer, _, kind = key.partition(".after.")[2].rpartition(".")
            yield key, of_case[layer][kind == "running_var"], outputs[key], MODULE
