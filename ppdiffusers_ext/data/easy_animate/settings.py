"""Settings of EasyAnimate's training samples, under the names of the original's flags."""

from dataclasses import dataclass
from typing import Literal

from ppdiffusers_ext.data.easy_animate.buckets import FRAMES_MULTIPLE

# Settings that draw sizes and lengths anew for each batch.
OF_BATCHES = (
    *("random_hw_adapt", "random_ratio_crop", "random_frame_crop"),
    *("training_with_video_token_length", "keep_all_node_same_token_length"),
)


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What training samples are like.

    Attributes:
        video_sample_size, image_sample_size: pixels, side of a square of as many pixels as a video or a picture has.
        token_sample_size: pixels, size at which a video of `video_sample_n_frames` has as many tokens as all should.
        video_sample_stride: frames of the file from one frame of a sample to the next.
        video_sample_n_frames: frames of a sample at most.
        video_repeat: how often a video is taken in an epoch, in which a picture is taken once.
        enable_bucket: samples of a batch have the shape that is nearest to theirs; without it all are squares.
        random_hw_adapt: draw sizes below the given ones as well.
        random_ratio_crop: draw shapes, instead of the nearest.
        random_frame_crop: draw numbers of frames; the full one in nine of ten batches.
        training_with_video_token_length: large videos have fewer frames, so that all have about as many tokens.
        keep_all_node_same_token_length: all batches of an optimisation step have at most the same drawn tokens.
        train_mode: "inpaint" adds masks and the frame that CLIP sees.
        mask_kinds: whose masks are drawn: those of EasyAnimate "v4" or "v3", or "all" ten kinds of its last version.
        text_drop_ratio: share of samples whose caption is replaced by an empty one, without which guidance has
            nothing to start from.
        frames_multiple: frames of which a sample has a whole number: what the video autoencoder encodes at once.
        keeps_stride: short videos give fewer frames, instead of closer ones.
    """

    video_sample_size: int = 512
    image_sample_size: int = 512
    token_sample_size: int = 512
    video_sample_stride: int = 4
    video_sample_n_frames: int = 17
    video_repeat: int = 1
    enable_bucket: bool = False
    random_hw_adapt: bool = False
    random_ratio_crop: bool = False
    random_frame_crop: bool = False
    training_with_video_token_length: bool = False
    keep_all_node_same_token_length: bool = False
    train_mode: Literal["normal", "inpaint"] = "normal"
    mask_kinds: Literal["v3", "v4", "all"] = "v4"
    text_drop_ratio: float = 0.1
    frames_multiple: int = FRAMES_MULTIPLE
    keeps_stride: bool = False

    @property
    def largest_side(self) -> int:
        """Pixels of the short side to which frames of the file are shrunk before anything else is decided."""
        return max(self.video_sample_size, self.image_sample_size)
