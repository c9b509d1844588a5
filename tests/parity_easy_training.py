"""Runners of the golden cases of EasyAnimate's training: each yields (name, ours, the original's, tolerance)."""

import dataclasses

import numpy as np
import paddle
from safetensors.numpy import load_file

from ppdiffusers_ext.data.easy_animate.batch_plan import fill_queues
from ppdiffusers_ext.data.easy_animate.batch_sizes import draw_batch_size, round_length
from ppdiffusers_ext.data.easy_animate.buckets import nearest_ratio
from ppdiffusers_ext.data.easy_animate.frame_choice import choose_frames, count_frames, shrink_size, start_bounds
from ppdiffusers_ext.data.easy_animate.masks import make_mask, shares_of_clip_frames
from ppdiffusers_ext.data.easy_animate.resampling import resize_middle
from ppdiffusers_ext.data.easy_animate.samples import number_items
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.pipelines.schedulers import make_scheduler, scheduler_class
from ppdiffusers_ext.training.easy_animate.diffusion import VarianceDiffusion, VelocityDiffusion, with_motion
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel, draw_latents, encode_video, hide
from ppdiffusers_ext.training.gradients import FallingLimit, clip_gradients
from ppdiffusers_ext.weights.conversion import transposed_names
from tests.support.golden import Case

MODULE, PIPELINE, RELATIVE = 1e-4, 1e-3, 1e-6
FLAT = 2e-4  # see parity_easy_animate
TEXTS = ("prompt_embeds", "prompt_attention_mask", "prompt_embeds_2", "prompt_attention_mask_2")
EXACT = 0.0
PIXELS = 1e-5  # of [-1, 1]


class Replay:
    """Gives the draws of a golden in the place of a numpy generator, and keeps the bounds that it was asked for."""

    def __init__(self, values, arrays=()):
        self._values, self._arrays, self.bounds = list(values), list(arrays), []

    def integers(self, low, high, shape=None):
        if shape is not None:
            return self._arrays.pop(0)
        self.bounds.append([low, high])
        return self._values.pop(0)

    def choice(self, options, *shape, **others):
        return self._values.pop(0)

    def random(self, shape):
        return self._arrays.pop(0)


# Random masks


def random_mask(case):
    packed = load_file(case.folder / "outputs.safetensors")
    for row in case.json("draws.json"):
        num_frames, _, height, width = row["shape"]
        shape = num_frames, 1, height, width
        expected = np.unpackbits(packed[row["key"]])[: np.prod(shape)].reshape(shape)
        draws = row["draws"][1:] if row["draws"] and row["draws"][0][0].startswith("np.") else row["draws"]
        replay = Replay([value for *_, value in draws if value != "array"], _arrays_of(row["index"], expected))
        yield row["key"], make_mask(replay, row["index"], num_frames, height, width), expected, EXACT
        if row["index"] not in (2, 3):  # of which ours leave something to be generated
            yield (
                f"{row['key']}.bounds",
                replay.bounds,
                [_bounds_of(*draw) for draw in draws if _is_whole(draw)],
                EXACT,
            )


def _arrays_of(kind, mask):
    """What is not listed among the draws: it is read from the mask itself."""
    return [mask] if kind == 5 else [mask.reshape(len(mask), -1).max(axis=1)] if kind == 9 else []


def _is_whole(draw):
    return draw[0].endswith("randint") and draw[2] != "array"


def _bounds_of(source, bounds, _):
    return [bounds[0], bounds[1] + (source == "random.randint")]


# Frames of a video


def clip_sampling(case):
    for number, row in enumerate(case.json("rows.json")):
        name = f"{number}.{row['tree']}.{row['length']}"
        settings = row["length"], row["n_frames"], row["stride"]
        keeps_stride = row["tree"] == "head"
        count = count_frames(*settings, keeps_stride)
        if row.get("error", "").startswith("No Frames"):
            yield name, _is_refused(*settings, keeps_stride), [True], EXACT
            continue
        low, high, _ = start_bounds(row["length"], count, row["stride"])
        if "error" in row:  # the bounds that Python's randint refuses
            yield name, [low > high], [True], EXACT
            continue
        yield f"{name}.draw", [low, high], row["draw"][:2] if row["draw"] else [0, 0], EXACT
        chosen = choose_frames(Replay([row["draw"][2] if row["draw"] else 0]), *settings, keeps_stride)
        yield name, chosen.tolist(), row["indices"], EXACT
        if row["tree"] != "v3":
            size = shrink_size(row["height"], row["width"], max(row["video_size"], row["image_size"]))
            yield f"{name}.frame_size", list(size), row["frame_size"], EXACT


def _is_refused(num_frames, most, stride, keeps_stride):
    try:
        choose_frames(np.random.default_rng(0), num_frames, most, stride, keeps_stride)
    except InputError:
        return [True]
    return [False]


# Batches


def aspect_sampler(case):
    golden = case.json("runs.json")
    is_video = [entry.get("type") == "video" for entry in golden["meta"]]
    pictures = [number for number, video in enumerate(is_video) if not video]
    for number, run in enumerate(golden["runs"]):
        name = f"{number}.{run['sampler']}"
        # Ours refuses to leave videos out.
        if run["video_repeat"] == 0:
            items = pictures
        else:
            items = number_items(is_video, run["video_repeat"]).tolist()
        yield f"{name}.items", items, run["items"], EXACT
        keys = [_key(golden["meta"][item], run["sampler"]) for item in items]
        orders = [epoch["order"] for epoch in run["epochs"]]
        yield f"{name}.batches", _batches(keys, orders, run["batch"], len(items)), _of_epochs(run, len(items)), EXACT
        rest = orders[0][run["resumed_from"] :]
        resumed = [batch for _, batch in _filled(keys, rest, run["batch"])]
        yield f"{name}.resumed", resumed, run["resumed"], EXACT


def _key(entry, sampler):
    kind = entry.get("type", "image")
    return (kind, nearest_ratio(entry["height"], entry["width"])) if sampler == "aspect" else kind


def _filled(keys, order, batch):
    return [
        (number, [order[place] for place in places])
        for number, places in fill_queues([keys[item] for item in order], batch)
    ]


def _batches(keys, orders, batch, length):
    order = [item for epoch in orders for item in epoch]
    return [[number // length, number % length, items] for number, items in _filled(keys, order, batch)]


def _of_epochs(run, length):
    """[epoch, number of the item that made it complete, batch]; the original's position wraps to 0 at the end."""
    found = []
    for epoch, batches in enumerate(run["epochs"]):
        for batch in batches["batches"]:
            is_last = batches["order"][-1] == batch["batch"][-1]
            position = length - 1 if is_last and batch["position"] == 0 else batch["position"]
            found.append([epoch, position, batch["batch"]])
    return found


# Sizes of batches


def collate(case):
    names = {field.name for field in dataclasses.fields(SampleSettings)}
    pixels = load_file(case.folder / "pixels.safetensors")
    for number, row in enumerate(case.json("cases.json")):
        name = f"{number}.{row['name']}"
        given = {key: value for key, value in row["args"].items() if key in names}
        settings = SampleSettings(**given, frames_multiple=row["interval"])
        kind, _, height, width = row["examples"][0]
        side = min((example[2] + example[3]) / 2 for example in row["examples"])
        replay = Replay([float(value) for value in row["size_draws"]])
        ratio = nearest_ratio(height, width)
        drawn = draw_batch_size(replay, None, settings, kind == "video", ratio, side)
        frames = min(round_length(example[1], row["interval"]) for example in row["examples"])
        frames, count = min(frames, drawn.max_frames), len(row["examples"])
        yield f"{name}.pixel_values", [count, frames, 3, *drawn.bucket.size], row["pixel_values"], EXACT
        yield f"{name}.mask", [count, frames, 1, *drawn.bucket.size], row["mask"], EXACT
        for index, (choices, shares, _) in enumerate(row["clip_draws"]):
            ours = shares_of_clip_frames(choices)[: len(shares)].round(6).tolist()
            yield f"{name}.clip_shares.{index}", ours, shares, EXACT
        if row["name"] == "plain":
            # The original resizes all frames as those of the first example.
            covering = drawn.bucket.cover(height, width)
            for index in range(count):
                example, expected = pixels[f"example_{index}"], pixels["pixel_values"][index]
                ours = np.stack([resize_middle(frame, drawn.bucket.size, covering) for frame in example])
                yield f"{name}.pixels.{index}", ours, expected[: len(ours)], PIXELS


# Losses


def training_loss_v4(case):
    """As it was when V4 was published (`outputs_v4era`), and as the newer tree has it (`outputs`)."""
    options = known_options(HunyuanTransformer3D, case.config["transformer"])
    for name, first in (("outputs_v4era", True), ("outputs", False)):
        if outputs := case.tensors(name):
            transformer = case.fill("transformer", HunyuanTransformer3D(**options, rotates_first_block=first))
            for tensor, *rest in _of_velocity(case, EasyAnimateModel(transformer), outputs):
                yield f"{name}.{tensor}", *rest


def _of_velocity(case, model, outputs):
    inputs = case.tensors("inputs")
    vae = case.fill("vae", AutoencoderKLMagvit(**known_options(AutoencoderKLMagvit, case.config["vae"])))
    scheduler = _scheduler(case.config["scheduler_base"])
    diffusion = VelocityDiffusion(scheduler)
    videos, masked, masks = (
        inputs[name].astype("float32").transpose([0, 2, 1, 3, 4])
        for name in ("pixel_values", "mask_pixel_values", "mask")
    )
    yield "mask_pixel_values", hide(videos, masks), masked, EXACT
    factor = vae.config.scaling_factor
    latents = draw_latents(encode_video(vae, videos, 1), inputs["eps_video"], factor)
    yield "latents", latents, inputs["latents"], MODULE
    given = ((masks.expand(videos.shape), "eps_mask"), (hide(videos, masks), "eps_masked"))
    drawn = [draw_latents(encode_video(vae, pixels, 1), inputs[noise], factor) for pixels, noise in given]
    known = paddle.concat(drawn, axis=1)
    yield "inpaint_latents", known, inputs["inpaint_latents"], FLAT
    noise, timesteps = inputs["noise"], inputs["timesteps"]
    noisy = diffusion.noisy(latents, noise, timesteps)
    yield "noisy_latents", noisy, outputs["noisy_latents"], MODULE
    text = Text(*(inputs[name] for name in TEXTS))
    model.train()
    for suffix, of_motion in (("", False), ("_motion", True)):
        model.clear_gradients()
        with paddle.enable_grad():
            pixels, clip = videos.shape[3:], inputs["clip_encoder_hidden_states"]
            prediction = model(
                noisy, diffusion.told(timesteps), text, pixels, known, clip, inputs["clip_attention_mask"]
            )
            losses, predicted, target = diffusion.losses(prediction, latents, noise, timesteps)
            if of_motion:
                losses = with_motion(losses, predicted, target, case.config["motion_sub_loss_ratio"])
            loss = losses.mean()
            loss.backward()
        if not of_motion:
            yield "target", target, outputs["target"], MODULE
            yield "prediction", predicted, outputs["prediction"], MODULE
            norm = paddle.stack([p.grad.square().sum() for p in model.parameters() if p.grad is not None]).sum().sqrt()
            expected = float(outputs["grad_norm_total"])
            yield "grad_norm_total", norm, outputs["grad_norm_total"], PIPELINE * expected
        yield f"loss{suffix and '_motion_sub'}", loss, outputs[f"loss{suffix and '_motion_sub'}"], MODULE
        yield from _gradients(model.transformer, outputs, f"grad{suffix}.")


def _scheduler(options):
    known = option_names(scheduler_class("DDIM"))
    return make_scheduler("DDIM", {name: value for name, value in options.items() if name in known})


def training_loss_v3(case):
    """V1 to V3: the network and its conditions are of another golden, beside it."""
    path = case.folder / case.json("weights.json")["transformer"]
    of_network = Case(path.resolve().parent)
    network = of_network.fill(
        "transformer", PixArtTransformer3D(**known_options(PixArtTransformer3D, of_network.config))
    )
    conditions, inputs, outputs = of_network.tensors("inputs"), case.tensors("inputs"), case.tensors("outputs")
    del conditions["hidden_states"], conditions["timestep"]
    latents, noise, timesteps = inputs["latents"], inputs["noise"], inputs["timesteps"]
    network.train()
    for prefix, snr in (("", False), ("snr_", True)):
        diffusion = VarianceDiffusion(snr=snr)
        noisy = diffusion.noisy(latents, noise, timesteps)
        network.clear_gradients()
        with paddle.enable_grad():
            prediction = network(noisy, diffusion.told(timesteps), **conditions)
            error, bound = diffusion.terms(prediction, latents, noise, timesteps)
            losses, *_ = diffusion.losses(prediction, latents, noise, timesteps)
            loss = losses.mean()
            loss.backward()
        if not snr:
            yield "x_t", noisy, outputs["x_t"], MODULE
        for name, ours in (("mse", error), ("vb", bound), ("loss", loss)):
            yield f"{prefix}{name}", ours, outputs[f"{prefix}{name}"], MODULE
        yield from _gradients(network, outputs, f"{prefix}grad.")


def _gradients(network, outputs, prefix):
    parameters, transposed = dict(network.named_parameters()), transposed_names(network)
    for name, expected in outputs.items():
        if name.startswith(prefix):
            own = name.removeprefix(prefix)
            gradient = parameters[own].grad
            gradient = gradient.t() if own in transposed and gradient.ndim == 2 else gradient
            yield name, gradient, expected, PIPELINE * float(expected.abs().max())


# Clipping of gradients


def grad_clip(case):
    rows, directions = case.json("rows.json"), case.tensors("inputs")
    for number, row in enumerate(rows["rows"]):
        settings = rows["settings"][row["setting"]]
        last, steps = settings["max_grad_norm"], settings["abnormal_norm_clip_start"]
        rule = FallingLimit(last, settings["initial_grad_norm_ratio"], steps)
        limit = last if row["deepspeed"] else rule(row["step"], row["norm"])
        yield f"{number}.limit", limit, row["limit"], EXACT
        scale = row["norm"] / rows["norm_of_direction"]
        parameters = [paddle.zeros_like(direction) for direction in directions.values()]
        for parameter, direction in zip(parameters, directions.values()):
            parameter.stop_gradient = False
            parameter.grad = direction * scale
        clip_gradients(parameters, row["norm"], limit)
        norm = np.sqrt(sum(float(parameter.grad.square().sum()) for parameter in parameters))
        yield f"{number}.norm_after", norm, row["norm_after"], RELATIVE * row["norm_after"]
