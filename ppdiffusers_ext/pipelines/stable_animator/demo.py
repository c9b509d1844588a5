"""How well a small StableAnimator animates drawn people that it has never seen, and whose face it gives them.

Compared with the true frames are the model, with what the recogniser makes of the reference's face; the same with
faces that are optimised; the model without a face's embedding (zeros, as where no face is found); the model with
somebody else's; and the reference repeated. How windows and noise are made can be compared as well. Identity is
measured by a recogniser of its own, the judge, for what optimisation says of itself is no measure.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from PIL import Image

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.drawn_clip import SyntheticClip
from ppdiffusers_ext.data.stable_animator.face_boxes import box_of_dots, box_of_mask
from ppdiffusers_ext.metrics.video import METRICS, mean_by_way, video_metrics
from ppdiffusers_ext.models.stable_animator.arcface import crop_face
from ppdiffusers_ext.pipelines.outputs import to_uint8
from ppdiffusers_ext.pipelines.stable_animator.faces import load_recognizer
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement, embed_reference
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


MODEL, OPTIMISED, WITHOUT_FACE, OTHER_FACE, REPEATED = WAYS = (
    "model",
    "face optimised",
    "without the face",
    "somebody else's face",
    "reference repeated",
)
WINDOWS = {  # options of the pipeline: the ways that released weights are used in
    "anchored windows": {"anchored": True},
    "repeated noise": {"repeats_noise": True},
    "both": {"anchored": True, "repeats_noise": True},
}
IDENTITY = "identity"


class StableDemoEvaluation:
    """
    Args:
        config: `StableAnimationConfig` of the small model.
        drawing: `Drawing` of the clips that it was trained on.
        recognizer: file of the recogniser of drawn people that the model is used with.
        judge: file of another one, which measures.
        runtime: `Runtime`.
        num_frames: of each clip; as in training if left out.
    """

    def __init__(
        self,
        config: "StableAnimationConfig",
        drawing: Drawing,
        recognizer: str | os.PathLike,
        judge: str | os.PathLike,
        runtime: Runtime,
        num_frames: int | None = None,
    ) -> None:
        self._config, self._drawing, self._num_frames = config, drawing, num_frames or drawing.num_frames
        self._pipeline = StableAnimatorPipeline.open(config, runtime)
        self._pipeline.set_progress_bar_config(disable=True)
        self._recognizer, self._judge = load_recognizer(recognizer), load_recognizer(judge)

    def clip(self, seed: int, number: int, windows: bool = False) -> tuple[SyntheticClip, dict[str, np.ndarray]]:
        """One clip: the `SyntheticClip`, and its frames in each way, a dict of (frames, H, W, 3) uint8.

        Args:
            seed, number: of the clip and its noise.
            windows: whether the ways of `WINDOWS` are there too.
        """
        width, height = self._config.width, self._config.height
        clip = self._drawing.clip((seed, number), width, height, self._num_frames)
        somebody = self._drawing.clip((seed, number + 1), 16, 16, 1).identity
        face = self._face((seed, number), clip)
        embedding = face.reference[0].numpy()
        frames = {
            MODEL: self._animate(clip, embedding, (seed, number)),
            OPTIMISED: self._animate(clip, embedding, (seed, number), refinement=face),
            WITHOUT_FACE: self._animate(clip, None, (seed, number)),
            OTHER_FACE: self._animate(clip, somebody, (seed, number)),
            REPEATED: np.repeat(clip.reference[None], self._num_frames, axis=0),
        }
        if windows:
            for name, options in WINDOWS.items():
                frames[name] = self._animate(clip, embedding, (seed, number), **options)
        return clip, frames

    def _face(self, seed: tuple[int, int], clip: SyntheticClip) -> FaceRefinement:
        """How a clip's face is optimised: with boxes around the dots of its skeletons, or else around the head."""
        width, height, last = self._config.width, self._config.height, self._config.num_inference_steps - 1
        rest = self._drawing.clip(seed, width, height, 1, entrance=1)  # begins with the reference

        def boxes(clip: SyntheticClip) -> list[Any]:
            pairs = zip(clip.pose, clip.face)
            return [box_of_dots(skeleton, height, width) or box_of_mask(mask) for skeleton, mask in pairs]

        with paddle.no_grad():
            reference = embed_reference(self._recognizer, clip.reference, boxes(rest)[0])
        return FaceRefinement(self._recognizer, reference, boxes(clip), last_step=last)

    def scores(self, seed: int, number: int, windows: bool = False) -> dict[str, dict[str, Any]]:
        """`VideoMetrics.result()` of one clip in each way, with `IDENTITY`, and that of the true frames as "truth"."""
        clip, ways = self.clip(seed, number, windows)
        scores = {}
        for way, frames in ways.items():
            scores[way] = {**video_metrics(frames, clip.target), IDENTITY: self.identity(frames, clip)}
        scores["truth"] = {IDENTITY: self.identity(clip.target, clip)}
        return scores

    @paddle.no_grad()
    def identity(self, frames: np.ndarray, clip: SyntheticClip) -> float:
        """Mean cosine between what the judge makes of the heads in frames and who a `SyntheticClip` shows.

        Heads are looked for where they truly are.
        """
        pixels = paddle.to_tensor(frames.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        heads = [crop_face(pixels[i : i + 1], box_of_mask(mask)) for i, mask in enumerate(clip.face)]
        seen = self._judge(paddle.concat(heads)).numpy()
        lengths = np.linalg.norm(seen, axis=1) * np.linalg.norm(clip.identity)
        return float(np.mean(seen @ clip.identity / lengths))

    def _animate(
        self, clip: SyntheticClip, embedding: np.ndarray | None, seed: tuple[int, int], **options: Any
    ) -> np.ndarray:
        config = self._config
        video = self._pipeline(
            Image.fromarray(clip.reference),
            list(clip.pose),
            embedding,
            config.width,
            config.height,
            config.num_inference_steps,
            min_guidance_scale=config.guidance_scale,
            max_guidance_scale=config.guidance_scale,
            noise_aug_strength=config.noise_aug_strength,
            tile_size=config.context_frames,
            tile_overlap=config.context_overlap,
            decode_chunk_size=config.decode_chunk_size,
            generator=paddle.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**31))),
            output_type="np",
            **{"anchored": config.anchored, "repeats_noise": config.repeats_noise, **options},
        ).frames[0]  # (3, frames, height, width)
        return to_uint8(video)


def summary(scores: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What the clips' scores come to.

    Args:
        scores: list of `StableDemoEvaluation.scores`.

    Returns:
        dict of "ways" (way -> metric -> mean), "psnr_above_reference" (dB above the reference repeated),
        "identity_without_face" (change of the identity measure without the face's embedding) and
        "identity_optimised" (its change where faces are optimised).
    """
    ways = mean_by_way(scores, (*METRICS, IDENTITY))
    return {
        "ways": ways,
        "psnr_above_reference": ways[MODEL]["psnr"] - ways[REPEATED]["psnr"],
        "identity_without_face": ways[WITHOUT_FACE][IDENTITY] - ways[MODEL][IDENTITY],
        "identity_optimised": ways[OPTIMISED][IDENTITY] - ways[MODEL][IDENTITY],
    }
