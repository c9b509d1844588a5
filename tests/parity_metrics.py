"""Runners of the golden cases of metrics: each yields (tensor name, ours, the original's, tolerance)."""

import numpy as np
import paddle

from ppdiffusers_ext.metrics.distribution import ClipFeatures, PictureFeatures
from ppdiffusers_ext.metrics.frechet import Statistics, frechet_distance
from ppdiffusers_ext.metrics.networks import OpenedNetwork
from ppdiffusers_ext.metrics.perceptual import PERCEPTUAL, perceptual_distance
from ppdiffusers_ext.metrics.pixels import PIXELS, grey, resize_to
from ppdiffusers_ext.models.metrics import LPIPS, InceptionI3d, InceptionV3, ResNet3D
from ppdiffusers_ext.models.metrics.i3d import VARIANTS

EXACT = 0.0
DISTANCE, MAPS, FEATURES = 1e-6, 1e-5, 1e-4
RESIZED, RESIZED_LEVELS = 2e-6, 1e-4  # of pixels from -1 to 1, and of levels
PIXEL_METRIC, MOMENT = 1e-6, 1e-6
# Of a Fréchet distance, as a part of the sum of both traces. The last is of the original's features against our own.
BY_SYMMETRY, BY_ROOT, OF_FEATURES = 1e-6, 1e-4, 1e-5
# Name in the goldens -> ours.
PIXEL_NAMES = {
    "disco.ssim": "disco_ssim",
    "disco.psnr": "disco_psnr",
    "disco.psnr_overflow": "disco_psnr_overflow",
    "disco.l1": "disco_l1",
    "mae_255": "mae_255",
    "skimage.ssim_color": "ssim_color",
    "skimage.ssim_gauss_color": "ssim",
    "skimage.ssim_gauss_gray": "ssim_gauss_gray",
    "common.ssim": "common_ssim",
    "common.psnr": "common_psnr",
}


def _arrays(case, name):
    return {key: tensor.numpy() for key, tensor in case.tensors(name).items()}


def _groups(names):
    """The parts of names before the first dot, each once."""
    return sorted({name.split(".")[0] for name in names})


def _channels_first(picture, divisor, shift=0.0):
    pixels = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(divisor) - np.float32(shift)
    return paddle.to_tensor(pixels[None])


def _lpips(case, net):
    model, inputs, outputs = case.fill("lpips", LPIPS(net)), _arrays(case, "inputs"), _arrays(case, "outputs")
    network = OpenedNetwork(f"lpips_{net}", model)
    metric = PERCEPTUAL[f"lpips_{net}"]
    for pair in _groups(inputs):
        a, b = inputs[f"{pair}.a"], inputs[f"{pair}.b"]
        distance = np.array([perceptual_distance(metric, network, a, b)])
        yield f"{pair}.distance", distance, outputs[f"{pair}.distance"], DISTANCE
        x, y = (_channels_first(picture, 127.5, 1) for picture in (a, b))
        layers = np.array([float(part.mean()) for part in model.maps(x, y)])
        yield f"{pair}.per_layer", layers, outputs[f"{pair}.per_layer"], DISTANCE
        of_unit = [_channels_first(picture, 255) for picture in (a, b)]
        normalized = model(*(2 * picture - 1 for picture in of_unit))
        yield f"{pair}.distance_normalize", normalized, outputs[f"{pair}.distance_normalize"], DISTANCE
        yield f"{pair}.distance_raw_0_1", model(*of_unit), outputs[f"{pair}.distance_raw_0_1"], DISTANCE
        for i, of_layer in enumerate(model.features(x)):
            key = f"{pair}.feature_mean.{i}"
            yield key, of_layer.mean([2, 3])[0], outputs[key], MAPS
        if f"{pair}.spatial" in outputs:
            yield f"{pair}.spatial", model.spatial(x, y)[0], outputs[f"{pair}.spatial"], MAPS
    first = _channels_first(inputs["pair0.a"], 127.5, 1)
    yield "identical", model(first, first), outputs["identical"], EXACT
    black = paddle.full_like(first, -1)
    yield "black_vs_pair0.a", model(black, first), outputs["black_vs_pair0.a"], DISTANCE


def lpips_alex(case):
    yield from _lpips(case, "alex")


def lpips_vgg(case):
    yield from _lpips(case, "vgg")


def _statistics(features):
    made = Statistics(features.shape[1])
    made.add(features)
    return made


def _distance(name, a, b, outputs, kinds):
    """Rows of a Fréchet distance: `kinds` are names of the formulas with the tolerance of each."""
    a, b = _statistics(a), _statistics(b)
    ours, scale = frechet_distance(a, b), float(np.trace(a.covariance) + np.trace(b.covariance))
    for kind, tolerance in kinds.items():
        if f"{name}.{kind}" in outputs:
            yield f"{name}.{kind}", np.array([ours]), outputs[f"{name}.{kind}"], tolerance * scale


def inception_fid(case):
    model = case.fill("inception", InceptionV3())
    features = PictureFeatures(OpenedNetwork("inception_fid", model))
    inputs, outputs, inside = (_arrays(case, name) for name in ("inputs", "outputs", "intermediates"))
    pictures = sorted((name for name in inputs if name.startswith("picture")), key=lambda name: int(name[7:]))
    pool3 = features([inputs[name] for name in pictures])
    for name, row in zip(pictures, pool3):
        number = name[7:]
        yield f"pool3.{number}", row, outputs[f"pool3.{number}"], FEATURES
        x = features.prepare(inputs[name])
        if f"resized{number}.corner" in outputs:
            yield f"resized{number}.corner", x[:, :16, :16], outputs[f"resized{number}.corner"], RESIZED
            key = f"resized{number}.channel_mean"
            yield key, x.mean((1, 2)), outputs[key], RESIZED
        if f"logits.{number}" in outputs:
            logits = model.logits(paddle.to_tensor(row[None]))[0]
            yield f"logits.{number}", logits, outputs[f"logits.{number}"], FEATURES
        for i, block in enumerate(model.blocks(paddle.to_tensor(x[None]))):
            if (key := f"block{i}.{number}") + ".corner" in inside:
                yield f"{key}.channel_mean", block.mean([2, 3])[0], inside[f"{key}.channel_mean"], FEATURES
                yield f"{key}.corner", block[0, :8, :4, :4], inside[f"{key}.corner"], FEATURES
    for name in sorted({key.rsplit(".", 1)[0] for key in inputs if key.startswith("frechet.")}):
        a, b = inputs[f"{name}.a"], inputs[f"{name}.b"]
        for letter, of_set in (("a", _statistics(a)), ("b", _statistics(b))):
            yield f"{name}.mu_{letter}", of_set.mean, outputs[f"{name}.mu_{letter}"], MOMENT
            yield f"{name}.sigma_{letter}", of_set.covariance, outputs[f"{name}.sigma_{letter}"], MOMENT
        is_singular = min(len(a), len(b)) <= a.shape[1] or name.endswith("ill")
        kinds = {"exact": BY_SYMMETRY, "pytorch_fid": BY_ROOT if is_singular else BY_SYMMETRY}
        yield from _distance(name, a, b, outputs, kinds)
    half = len(pool3) // 2
    kinds = {"exact": OF_FEATURES, "pytorch_fid": BY_ROOT}
    yield from _distance("frechet.pool3_halves", pool3[:half], pool3[half:], outputs, kinds)


def _upsampled(clips, factor):
    """Clips as the case gives them to the network, each pixel repeated: (N, 3, T, H, W)."""
    pixels = clips.astype(np.float32) / np.float32(127.5) - np.float32(1)
    pixels = pixels.repeat(factor, axis=2).repeat(factor, axis=3)
    return paddle.to_tensor(np.ascontiguousarray(pixels.transpose(0, 4, 1, 2, 3)))


def i3d_fvd(case):
    inputs, outputs, inside = (_arrays(case, name) for name in ("inputs", "outputs", "intermediates"))
    factor = case.config["upsample_factor"]
    models = {name: case.fill("i3d", InceptionI3d(**options)) for name, options in VARIANTS.items()}
    for name, model in models.items():
        for clips in ("clips", "long_clip", "short_clip"):
            prefix = "" if clips == "clips" else f"{clips}."
            key = f"{prefix}logits{'' if model.config['mean_over_time'] else '_over_time'}.{name}"
            if key in outputs:
                yield key, model(_upsampled(inputs[clips], factor)), outputs[key], FEATURES
    model = models["disco"]
    for name, x in model.endpoints(_upsampled(inputs["clips"], factor)).items():
        yield f"{name}.shape", list(x.shape), inside[f"{name}.shape"].tolist(), EXACT
        yield f"{name}.channel_mean", x.mean([2, 3, 4]), inside[f"{name}.channel_mean"], FEATURES
        yield f"{name}.first", x[0, :8, 0, :6, :6], inside[f"{name}.first"], FEATURES
        yield f"{name}.last", x[0, :8, -1, -6:, -6:], inside[f"{name}.last"], FEATURES
    network, raw = OpenedNetwork("i3d_fvd", model), inputs["raw_clips"]
    disco = ClipFeatures(network)
    prepared = np.stack([[disco.prepare(frame) for frame in clip] for clip in raw])  # (N, T, 3, 224, 224)
    yield "disco_preprocessed.frame0", prepared[0, 0, :, ::4, ::4], outputs["disco_preprocessed.frame0"], RESIZED
    means = prepared.mean((3, 4)).swapaxes(1, 2)  # (N, 3, T)
    yield "disco_preprocessed.channel_mean", means, outputs["disco_preprocessed.channel_mean"], RESIZED
    yield "disco_chain.logits", disco(raw), outputs["disco_chain.logits"], FEATURES
    other = ClipFeatures(network, "styleganv").prepare(raw[0, 0])[:, ::4, ::4]
    yield "styleganv_preprocessed.frame0", other, outputs["styleganv_preprocessed.frame0"], RESIZED
    sets = [model(_upsampled(inputs[name], factor)).numpy() for name in ("set_a", "set_b")]
    for name, logits in zip(("set_a", "set_b"), sets):
        yield f"{name}.logits", logits, outputs[f"{name}.logits"], FEATURES
    by_root = {"disco": BY_ROOT, "styleganv": BY_ROOT, "videogpt_svd_fp32": BY_ROOT}
    yield from _distance("frechet_sets", *sets, outputs, {"exact": OF_FEATURES, **by_root})
    well = [inputs[f"features_well.{letter}"] for letter in "ab"]
    yield from _distance("frechet_well", *well, outputs, {"exact": BY_SYMMETRY, **by_root})


def resnet3d_fidvid(case):
    model = case.fill("resnet50_3d", ResNet3D())
    features = ClipFeatures(OpenedNetwork("resnet3d_fidvid", model))
    inputs, outputs, inside = (_arrays(case, name) for name in ("inputs", "outputs", "intermediates"))
    raw = inputs["raw_clips"]
    prepared = np.stack([[features.prepare(frame) for frame in clip] for clip in raw])  # (N, T, 3, 112, 112)
    yield "preprocessed.frame0", prepared[0, 0, :, ::2, ::2], outputs["preprocessed.frame0"], RESIZED_LEVELS
    means = prepared.mean((3, 4)).swapaxes(1, 2)  # (N, 3, T)
    yield "preprocessed.channel_mean", means, outputs["preprocessed.channel_mean"], RESIZED_LEVELS
    rows = features(raw)
    yield "features", rows, outputs["features"], FEATURES
    yield "logits", model.logits(paddle.to_tensor(rows)), outputs["logits"], FEATURES
    clips = paddle.to_tensor(np.ascontiguousarray(prepared.swapaxes(1, 2)))
    for i, x in enumerate(model.layers(clips), start=1):
        yield f"layer{i}.shape", list(x.shape), inside[f"layer{i}.shape"].tolist(), EXACT
        yield f"layer{i}.channel_mean", x.mean([2, 3, 4]), inside[f"layer{i}.channel_mean"], FEATURES
        yield f"layer{i}.corner", x[0, :8, 0, :4, :4], inside[f"layer{i}.corner"], FEATURES


def ssim_psnr(case):
    inputs, outputs = _arrays(case, "inputs"), _arrays(case, "outputs")
    for pair in _groups(inputs):
        generated, truth = inputs[f"{pair}.generated"], inputs[f"{pair}.truth"]
        resized = resize_to(generated, truth)
        if f"{pair}.resized" in outputs:
            yield f"{pair}.resized", resized, outputs[f"{pair}.resized"], EXACT
        for name, picture in (("gray_generated", resized), ("gray_truth", truth)):
            if f"{pair}.{name}" in outputs:
                yield f"{pair}.{name}", grey(picture), outputs[f"{pair}.{name}"], EXACT
        for name, ours in PIXEL_NAMES.items():
            metric = PIXELS[ours]
            value = metric(generated if metric.resizes else resized, truth)
            yield f"{pair}.{name}", np.array([value]), outputs[f"{pair}.{name}"], PIXEL_METRIC


RUNNERS = {
    "lpips_alex": lpips_alex,
    "lpips_vgg": lpips_vgg,
    "inception_fid": inception_fid,
    "i3d_fvd": i3d_fvd,
    "resnet3d_fidvid": resnet3d_fidvid,
    "ssim_psnr": ssim_psnr,
}
NOT_YET = ()
