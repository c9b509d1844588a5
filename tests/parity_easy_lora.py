"""Runner of the golden case of training LoRA of EasyAnimate: yields (tensor name, ours, the original's, tolerance)."""

import re
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import paddle

from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D, conditioning
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.easy_animate.diffusion import VelocityDiffusion, with_motion
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel
from ppdiffusers_ext.training.lora import LoraNetwork
from ppdiffusers_ext.weights.loading import read_checkpoint
from ppdiffusers_ext.weights.lora_names import TRANSFORMER
from ppdiffusers_ext.weights.lora_writing import write_lora
from tests.support.golden import read_manifest

MODULE, PIPELINE = 1e-4, 1e-3
EXACT = 0.0
# Adam divides by the root of tiny second moments, so moves are compared where the gradient is no rounding.
MOVE, SMALLEST_GRADIENT = 1e-2, 1e-6


def lora_training_v4(case):
    options = known_options(HunyuanTransformer3D, case.config["transformer"])
    transformer = case.fill("transformer", HunyuanTransformer3D(**options))
    given, outputs, (rank, alpha) = case.tensors("inputs"), case.tensors("outputs"), _rank_and_alpha(case)
    network = LoraNetwork({TRANSFORMER: transformer}, rank, alpha, multiplier=case.config["lora"]["multiplier"])
    keys = [f"{name}.{end}" for name in network.arrays() for end in ("alpha", "lora_down.weight", "lora_up.weight")]
    yield "names", sorted(keys), sorted(case.config["file_keys"]), EXACT
    bounds = [abs(down).max() * down.shape[1] ** 0.5 <= 1 for down, _ in network.arrays().values()]
    yield "drawn_within_1_over_sqrt_in", all(bounds), True, EXACT
    yield from _lora_file(case, network, outputs)
    start = read_manifest(case.folder / case.json("weights.json")["lora"])
    parameters = dict(network.named_parameters())
    for name, parameter in parameters.items():
        parameter.set_value(_swapped(start[name]))
    for parameter in transformer.parameters():
        parameter.stop_gradient = True
    transformer.train()
    with _drawn_table(case):
        gradients = yield from _lora_steps(case, transformer, parameters, given, outputs)
    for name, parameter in parameters.items():
        expected = outputs[f"after.{name}"].numpy() - start[name]
        move = _swapped(parameter.numpy()) - start[name]
        certain = gradients[name] > SMALLEST_GRADIENT
        bound = MOVE * len(case.config["steps"][:-1]) * case.config["optimizer"]["lr"]
        yield f"move.{name}", np.where(certain, move, 0), np.where(certain, expected, 0), bound


def _drawn_table(case):
    """The case's own table of places of CLIP's queries, drawn like weights; that of published files is computed."""
    drawn = read_manifest(case.folder / case.json("weights.json")["transformer"])
    name = "clip_projection.pos_embed"
    table = paddle.to_tensor(drawn[name]) if name in drawn else None
    make = conditioning.grid_table if table is None else lambda *_: table
    return mock.patch.object(conditioning, "grid_table", make)


def _rank_and_alpha(case):
    """The original takes an alpha of 0 for the rank."""
    lora = case.config["lora"]
    return lora["rank"], lora["alpha"] or lora["rank"]


def _swapped(array):
    """A matrix from torch's layout to Paddle's, or back; kernels are alike in both."""
    return array.T if array.ndim == 2 else array


def _lora_file(case, network, outputs):
    """The file that is written of the original's numbers, byte by byte, and what is read of it."""
    ends = ("lora_down.weight", "lora_up.weight")
    layers = {name: tuple(outputs[f"after.{name}.{end}"].numpy() for end in ends) for name in network.arrays()}
    (dtype,), (original,) = case.config["file_dtypes"], case.folder.glob("lora_*.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / original.name
        write_lora(path, layers, _rank_and_alpha(case)[1], dtype.removeprefix("torch."))
        yield "file", list(path.read_bytes()), list(original.read_bytes()), EXACT
        metadata = read_checkpoint(path).metadata
        yield "file_metadata", sorted(metadata.items()), sorted(case.config["file_metadata"].items()), EXACT


def _lora_steps(case, transformer, parameters, given, outputs):
    """Takes the steps. Returns the least gradient of each number over the steps, by the parameter's name."""
    options, least = case.config["optimizer"], {}
    optimizer = paddle.optimizer.AdamW(
        options["lr"],
        *options["betas"],
        options["eps"],
        parameters=list(parameters.values()),
        weight_decay=options["weight_decay"],
        grad_clip=paddle.nn.ClipGradByGlobalNorm(options["max_grad_norm"]),
    )
    for number, expected in enumerate(case.config["steps"]):
        with paddle.enable_grad():
            sample, plain, loss = _lora_loss(case, transformer, given)
            loss.backward()
        if f"sample.{number}" in outputs:
            yield f"sample.{number}", sample, outputs[f"sample.{number}"], MODULE
        yield f"loss.{number}", plain, expected["loss"], MODULE
        yield f"loss_motion_sub.{number}", loss, expected["loss_motion_sub"], MODULE
        for name, parameter in parameters.items():
            gradient = _swapped(parameter.grad.numpy())
            if f"grad.{number}.{name}" in outputs:
                wanted = outputs[f"grad.{number}.{name}"].numpy()
                yield f"grad.{number}.{name}", gradient, wanted, PIPELINE * max(float(np.abs(wanted).max()), 1e-6)
            if number < len(case.config["steps"]) - 1:
                # A down weight has no gradient in the first step, and moves by the others.
                before = least.get(name, np.inf)
                least[name] = np.minimum(before, abs(gradient)) if number or "lora_up" in name else before
        if "grad_norm_before_clipping" in expected:
            norm = float(paddle.stack([each.grad.square().sum() for each in parameters.values()]).sum().sqrt())
            wanted = expected["grad_norm_before_clipping"]
            yield f"grad_norm_before_clipping.{number}", norm, wanted, PIPELINE * wanted
            optimizer.step()
        optimizer.clear_grad()
    return least


def _lora_loss(case, transformer, given):
    """All channels of the prediction, mean squared error, and that with the error of differences of frames."""
    words = re.fullmatch(r"DDPM (\w+) ([\d.e-]+?)\.\.([\d.e-]+), (\w+)", case.config["scheduler"])
    schedule = {"beta_schedule": words[1], "beta_start": float(words[2]), "beta_end": float(words[3])}
    diffusion = VelocityDiffusion(make_scheduler("DDIM", {**schedule, "prediction_type": words[4]}))
    latents, noise, timesteps = given["latents"], given["noise"], given["timesteps"]
    names = ("prompt_embeds", "prompt_attention_mask", "prompt_embeds_2", "prompt_attention_mask_2")
    others = ("inpaint_latents", "clip_encoder_hidden_states", "clip_attention_mask")
    sample = EasyAnimateModel(transformer)(
        diffusion.noisy(latents, noise, timesteps),
        diffusion.told(timesteps),
        Text(*(given[name] for name in names)),
        given["image_meta_size"][0, 2:4].tolist(),
        *(given.get(name) for name in others),
    )
    losses, *compared = diffusion.losses(sample, latents, noise, timesteps)
    return sample, losses.mean(), with_motion(losses, *compared, case.config["motion_sub_loss_ratio"]).mean()
