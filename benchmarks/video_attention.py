"""Ways to compute a video's attention to itself in OpenVINO, in bf16, and what sliding tiles cost the demo model.

    python -m benchmarks video_attention
    python -m benchmarks video_attention --size 12x24x42 --repeats 3

One attention of 4 heads of 88 channels with its four projections, on one thread, by processor seconds, which other
work distorts least: as networks here export it, as OpenVINO's own operation, with queries, keys, scores and values in
int8, and in sliding tiles, where a tile of queries sees only the keys in a window around it (Zhang et al. 2025,
arXiv:2502.04507). Then the demo model makes videos with such windows in all blocks, in all steps and in late ones
alone: PSNR of their frames against those of whole attention, for each prompt.
"""

import math
import re
import time

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

HEADS, CHANNELS = 4, 88  # of a head: a quarter of V4's width
WINDOWS = (1.0, 0.67, 0.5)  # parts of the height and of the width that are seen; all frames are
PROMPTS = (
    "a person in a red shirt waves on a blue background",
    "a person in a green shirt jumps on a white background",
)
STEPS, STARTS = 20, (0.0, 0.5, 0.7)


def add_arguments(parser):
    parser.add_argument("--size", default="6x24x42", metavar="FxHxW", help="tokens (default 6x24x42, 24 of 384x672)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="calls of each (default 3)")
    parser.add_argument("--prompts", type=int, default=2, choices=(0, 1, 2), metavar="N", help="of videos (default 2)")


def compete(options):
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", options.size):
        raise InputError(f"--size {options.size} is no size; such as 6x24x42 (frames, height, width) is accepted")
    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats} is too small; 1 or more is accepted")
    settings = {"size": [int(n) for n in options.size.split("x")], "repeats": options.repeats}
    speed = harness.run_contestant("video_attention", "speed", settings, title="ways")
    ours = {"seconds": speed["rows"]["exported"], "peak_bytes": speed["peak_bytes"]}
    for name, seconds in speed["rows"].items():
        print(f"{name:32} {seconds:8.3f} s, {ours['seconds'] / seconds:.2f} times as fast")
    quality = {}
    if options.prompts:
        settings = {"prompts": options.prompts}
        quality = harness.run_contestant("video_attention", "quality", settings, title="videos")["psnr"]
        for name, decibels in quality.items():
            print(f"{name:32} {', '.join(f'{value:.1f}' for value in decibels)} dB")
    return harness.result(ours, {}, speed=speed, quality=quality, settings=vars(options))


def windows_of(size, part, tiles=6):
    """Tiles of queries and their windows of keys: two lists of (tokens,) arrays of places in the video.

    Args:
        size: frames, height and width in tokens.
        part: of the height and of the width that a window has.
        tiles: along the height and the width, at most.
    """
    import numpy as np

    frames, *sides = size
    place, spans = np.arange(math.prod(size)).reshape(size), []
    for side in sides:
        tile, window = math.ceil(side / tiles), max(1, round(part * side))
        starts = range(0, side, tile)
        firsts = [min(max(start + (tile - window) // 2, 0), side - window) for start in starts]
        spans.append([(slice(a, a + tile), slice(b, b + window)) for a, b in zip(starts, firsts)])
    pairs = [(place[:, y, x], place[:, seen_y, seen_x]) for y, seen_y in spans[0] for x, seen_x in spans[1]]
    return [queries.ravel() for queries, _ in pairs], [keys.ravel() for _, keys in pairs]


def speed(settings):
    import statistics

    import numpy as np
    import openvino

    size = settings["size"]
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal((1, math.prod(size), HEADS * CHANNELS), np.float32) for _ in range(3)]
    ways = {"exported": (None, ""), "own operation": (None, "operation"), "int8": (None, "int8")}
    ways |= {f"tiles, {part:.0%} of height and width": (part, "") for part in WINDOWS[1:]}
    requests, times = {}, {}
    for name, (part, kind) in ways.items():
        options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        model = openvino.Core().compile_model(_make_model(size, part, kind), "CPU", options)
        requests[name], times[name] = model.create_infer_request(), []
    for i in range(settings["repeats"] + 1):
        for name, request in requests.items():
            start = time.process_time()
            request.infer(dict(enumerate(arrays)), share_inputs=True)
            if i:  # else a warm-up
                times[name].append(time.process_time() - start)
    rows = {name: statistics.median(values) for name, values in times.items()}
    return {"rows": rows, "times": times, "peak_bytes": peak_bytes(), "versions": versions("openvino")}


def _make_model(size, part, kind):
    """OpenVINO's model of an attention between projections, of queries, keys and values by themselves."""
    import numpy as np
    import openvino
    from openvino import opset13 as op

    count, width, generator = math.prod(size), HEADS * CHANNELS, np.random.default_rng(1)
    numbers = lambda *values: op.constant(np.array(values, np.int64))  # noqa: E731

    def project(x):
        weight = generator.standard_normal((width, width), np.float32) / width**0.5
        return op.matmul(x, op.constant(weight), False, True)

    def rows(x, places):  # -> (tiles, tokens of each, width)
        return op.gather(op.reshape(x, numbers(count, width), False), op.constant(places), numbers(0))

    def split(x, scale=None):  # -> (tiles, heads, tokens, channels)
        heads = op.transpose(op.reshape(x, numbers(*list(x.shape)[:2], HEADS, CHANNELS), False), numbers(0, 2, 1, 3))
        return heads if scale is None else op.multiply(heads, op.constant(np.float32(scale)))

    def coarse(x, low, high):  # in 256 steps, where asked for
        low, high = op.constant(np.float32(low)), op.constant(np.float32(high))
        return op.fake_quantize(x, low, high, low, high, 256) if kind == "int8" else x

    inputs = [op.parameter([1, count, width], np.float32) for _ in range(3)]
    query, key, value = (project(x) for x in inputs)
    if part is not None:
        tiles, seen = windows_of(size, part)
        longest = max(len(tile) for tile in tiles)
        tiles = [np.resize(tile, longest) for tile in tiles]  # those at the edge are filled up with themselves
        query, key, value = rows(query, np.array(tiles)), rows(key, np.array(seen)), rows(value, np.array(seen))
    if kind == "operation":
        y = op.scaled_dot_product_attention(split(query), split(key), split(value))
    else:
        query, key, value = split(query, CHANNELS**-0.5), split(key), split(value)
        scores = op.matmul(coarse(query, -0.5, 0.5), coarse(key, -4, 4), False, True)
        y = op.matmul(coarse(op.softmax(scores, 3), 0, 0.02), coarse(value, -4, 4), False, False)
    y = op.reshape(op.transpose(y, numbers(0, 2, 1, 3)), numbers(1, -1, width), False)
    if part is not None:
        _, back = np.unique(np.concatenate(tiles), return_index=True)
        y = op.gather(y, op.constant(back.astype(np.int64)), numbers(1))
    return openvino.Model([project(y)], inputs)


def quality(settings):
    import numpy as np
    import paddle

    from ppdiffusers_ext.models.easy_animate import hunyuan
    from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
    from ppdiffusers_ext.runtime import Runtime

    Runtime.choose("cpu", "fp32")
    pipeline = EasyAnimatePipeline.from_pretrained(str(harness.ROOT / "assets" / "easy_animate_demo"))
    pipeline.set_progress_bar_config(disable=True)
    size, whole, masks, step = (4, 8, 8), hunyuan.scaled_dot_product, {}, [0]
    for part in WINDOWS[1:]:
        mask = np.full([math.prod(size)] * 2, -1e9, np.float32)
        for queries, keys in zip(*windows_of(size, part, tiles=4)):
            mask[np.ix_(queries, keys)] = 0
        masks[part] = paddle.to_tensor(mask)

    def make(part, start):
        def attend(query, key, value, heads):
            if (
                part is None or step[0] < start * STEPS or query.shape[1] != key.shape[1]
            ):  # else of the video to itself
                return whole(query, key, value, heads)
            query, key, value = (
                x.reshape([*x.shape[:2], heads, -1]).transpose([0, 2, 1, 3]) for x in (query, key, value)
            )
            scores = paddle.matmul(query, key, transpose_y=True) / math.sqrt(query.shape[3]) + masks[part]
            seen = paddle.matmul(paddle.nn.functional.softmax(scores, -1), value)
            return seen.transpose([0, 2, 1, 3]).flatten(2)

        def count(pipeline, i, timestep, tensors):
            step[0] = i + 1
            return tensors

        hunyuan.scaled_dot_product, videos = attend, []
        for seed, prompt in enumerate(PROMPTS[: settings["prompts"]]):
            step[0], generator = 0, paddle.Generator().manual_seed(seed)
            options = {"height": 64, "width": 64, "num_frames": 16, "guidance_scale": 3.0, "output_type": "np"}
            options |= {"num_inference_steps": STEPS, "callback_on_step_end": count, "generator": generator}
            videos.append(pipeline(prompt, "", **options).frames.astype("float64"))
        return videos

    expected, psnr = make(None, 0), {}
    for part in WINDOWS[1:]:
        for start in STARTS:
            errors = [np.mean((x - y) ** 2) for x, y in zip(make(part, start), expected)]
            psnr[f"{part:.0%}, after {start:.0%} of the steps"] = [-10 * math.log10(error) for error in errors]
    return {"psnr": psnr}


CONTESTANTS = {"speed": speed, "quality": quality}
