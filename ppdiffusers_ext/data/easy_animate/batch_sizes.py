"""Size and number of frames of the samples of a batch, drawn once for each batch.

From aigc-apps/EasyAnimate (`collate_fn` and the training step of `scripts/train.py`). There,
`keep_all_node_same_token_length` has an effect with `random_frame_crop` only; here by itself too.
"""

from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.data.easy_animate.buckets import (
    RANDOM_SHAPES,
    RANDOM_SHARES,
    SHAPES,
    Bucket,
    frames_of_sizes,
    scale_bucket,
)
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings

_FIRST_SHARE = 0.75  # of batches at the full size, where there are others
_DIVISORS = (1, 1.25, 1.5, 2, 2.5, 3)
_NUM_DIVISORS = {1536: 6, 1024: 4, 768: 3}  # of sizes from this one on
_LEAST_ADAPTED = 512  # pixels; smaller sizes are not divided
_MOST_ENLARGED = 1.25
_LEAST_TOKEN_SIZE, _TOKEN_STEP = 256, 128  # pixels
_FULL_SHARE = 0.9  # of batches of all frames


@dataclass(frozen=True)
class BatchSize:
    """What the samples of a batch are resized and cut to.

    Attributes:
        bucket: `Bucket` of their size.
        max_frames: frames at most.
        cut_frames: the same after the random cut; `max_frames` or fewer.
    """

    bucket: Bucket
    max_frames: int
    cut_frames: int


def draw_batch_size(
    rng: Any, rng_of_step: Any, settings: SampleSettings, is_video: bool, ratio: float, side: float
) -> BatchSize:
    """The `BatchSize` of a batch.

    Args:
        rng: `np.random.Generator` of the batch.
        rng_of_step: one that is the same for all batches of an optimisation step.
        is_video: whether it is a batch of videos.
        ratio: key of `SHAPES` that is nearest to the shape of its clips, height to width.
        side: smallest mean of height and width of its clips, in pixels, once they are shrunk.
    """
    base, max_frames = _draw_base(rng, settings, is_video, side)
    shapes = SHAPES
    if settings.enable_bucket and settings.random_ratio_crop:
        shapes = RANDOM_SHAPES
        ratio = float(rng.choice(list(shapes), p=RANDOM_SHARES))
    ratio = ratio if settings.enable_bucket else 1.0
    bucket = scale_bucket(ratio, shapes[ratio], base)
    cut = _draw_cut(rng, rng_of_step, settings, bucket.size) if is_video else 1
    return BatchSize(bucket, max_frames, min(max_frames, cut))


def _draw_base(rng: Any, settings: SampleSettings, is_video: bool, side: float) -> tuple[float, int]:
    """Side of a square of as many pixels, and the number of frames that fit."""
    full = settings.video_sample_size if is_video else settings.image_sample_size
    most = settings.video_sample_n_frames + settings.frames_multiple if is_video else 1
    if not (settings.enable_bucket and settings.random_hw_adapt):
        return full, most
    if is_video and settings.training_with_video_token_length:
        sizes = frames_of_sizes(
            settings.image_sample_size, full, settings.token_sample_size,
            settings.video_sample_n_frames, settings.frames_multiple,
        )  # fmt: skip
        fitting = [size for size in sizes if size < _MOST_ENLARGED * side] or list(sizes)
        chosen = int(rng.choice(fitting))
        return chosen, max(sizes[chosen], 1)
    divisors, shares = adapted_divisors(settings, is_video)
    return full / float(rng.choice(divisors, p=shares)), most


def adapted_divisors(settings: SampleSettings, is_video: bool) -> tuple[list[float], list[float]]:
    """What `random_hw_adapt` divides the full size by, and the share of each."""
    full = settings.video_sample_size if is_video else settings.image_sample_size
    count = next((count for least, count in _NUM_DIVISORS.items() if full >= least), 1)
    divisors = [float(divisor) for divisor in _DIVISORS[:count]]
    if not is_video and full >= _LEAST_ADAPTED:
        divisors.append(settings.image_sample_size / settings.video_sample_size)
    if len(divisors) == 1:
        return divisors, [1.0]
    return divisors, [_FIRST_SHARE, *[(1 - _FIRST_SHARE) / (len(divisors) - 1)] * (len(divisors) - 1)]


def _draw_cut(rng: Any, rng_of_step: Any, settings: SampleSettings, size: tuple[int, int]) -> int:
    most, multiple = settings.video_sample_n_frames, settings.frames_multiple
    cut = most
    if settings.random_frame_crop:
        lengths = cut_lengths(most, multiple)
        shares = [*[(1 - _FULL_SHARE) / max(1, len(lengths) - 1)] * (len(lengths) - 1), _FULL_SHARE]
        cut = int(rng.choice(lengths, p=shares if len(lengths) > 1 else [1.0]))
    if settings.keep_all_node_same_token_length:
        tokens = int(rng_of_step.choice(token_counts(settings)))
        cut = min(cut, round_length(int(min(tokens / size[0] / size[1], most)), multiple))
    return cut


def cut_lengths(most: int, multiple: int) -> list[int]:
    """Numbers of frames that `random_frame_crop` draws from, the full one last."""
    return list(dict.fromkeys([*range(multiple, most + 1, multiple), most]))


def token_counts(settings: SampleSettings) -> list[int]:
    """Pixels of all frames that `keep_all_node_same_token_length` draws from."""
    largest = settings.token_sample_size
    sizes = dict.fromkeys([*range(_LEAST_TOKEN_SIZE, largest, _TOKEN_STEP), largest])
    return [size * size * settings.video_sample_n_frames for size in sizes]


def round_length(num_frames: int, multiple: int) -> int:
    """Frames of a sample that can have so many: a multiple, or one."""
    return max(num_frames // multiple * multiple, 1)


def count_repeats(num_frames: int, size: tuple[int, int], settings: SampleSettings) -> int:
    """How often a batch stands in the loss, so that small samples have more draws of noise: 4, 2 or 1 times."""
    if not settings.training_with_video_token_length:
        return 1
    tokens = settings.video_sample_n_frames * settings.token_sample_size**2
    pixels = num_frames * size[0] * size[1]
    return next((repeats for repeats, part in ((4, 16), (2, 4)) if tokens // part >= pixels), 1)
