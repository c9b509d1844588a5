"""Nodes that look at people: skeletons for the animating nodes, and masks of faces. They run here, without Paddle."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.comfyui import tensors, widgets
from ppdiffusers_ext.comfyui.files import scratch, write_frames, write_picture
from ppdiffusers_ext.comfyui.host import Watch
from ppdiffusers_ext.comfyui.keypoints import to_keypoints
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import FPS, any_of, check_number
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.systems import POSED
from ppdiffusers_ext.preprocess import estimators
from ppdiffusers_ext.preprocess.extraction import TrackOptions, draw, style_of, track
from ppdiffusers_ext.preprocess.faces import draw_mask

if TYPE_CHECKING:
    from ppdiffusers_ext.data.skeletons import Pose, Style
    from ppdiffusers_ext.preprocess.estimators import Estimator

CATEGORY = "ppdiffusers_ext/preprocessing"
EMBEDDED, ANTELOPE = DETECTORS = ("embedded", "antelopev2")
_FACES = "pretrained_weights/stable_animator"  # where models/antelopev2 is
_TRACKING = ("person", "align", "unseen_joints", "gap", "smoothing")
_DEVICE = (["cpu", "gpu"], {"default": "cpu", "tooltip": "where the networks run"})
# Channels in which a system's released weights have seen skeletons' pictures.
_CHANNELS = {"animate_anyone": "bgr", "stable_animator": "rgb"}


class EstimatePoses:
    """Estimates the poses of a person in a video, and draws them as skeletons."""

    DESCRIPTION = (
        "Finds the person in the frames of a video and draws skeletons; with a reference picture they are moved to "
        "where its person is, at its size."
    )
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "POSE_KEYPOINT")
    RETURN_NAMES = ("pose_images", "keypoints")
    OUTPUT_TOOLTIPS = (
        "skeletons, one picture for each frame",
        "joints in pixels of the skeletons, as OpenPose has them",
    )
    FUNCTION = "estimate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        fps = {"default": 24.0, "min": float(FPS[0]), "max": float(FPS[1]), "step": 0.001}
        networks = (
            "networks that find people: dwpose, those that ship (embedded), or dwpose where its files are (auto)"
        )
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "frames of the driving video"}),
                "style": (list(POSED), {"default": POSED[0], "tooltip": "the system that skeletons are drawn for"}),
                "fps": ("FLOAT", {**fps, "tooltip": "frames per second of the video, for the smoothing of motion"}),
                **widgets.widgets(Job, _TRACKING),
                "poses": (list(estimators.CHOICES), {"default": estimators.AUTO, "tooltip": networks}),
                "hands": ("BOOLEAN", {"default": True, "tooltip": "draw hands"}),
                "face": ("BOOLEAN", {"default": True, "tooltip": "draw the face"}),
                "device": _DEVICE,
            },
            "optional": {
                "reference_image": ("IMAGE", {"tooltip": "picture whose person the skeletons are aligned with"}),
            },
        }

    def estimate(
        self, images: Any, style: str, fps: float, poses: str, hands: bool, face: bool, device: str,
        reference_image: Any = None, **tracking: Any,
    ) -> tuple[Any, list[dict[str, Any]]]:  # fmt: skip
        """IMAGE of skeletons, and their joints."""
        frames = tensors.frames_of(images, "images")
        picture = None if reference_image is None else tensors.picture_of(reference_image, "reference_image")
        if style not in POSED:
            raise InputError(f"style {shown(style)} is not known; {any_of(POSED)} is accepted")
        check_number("fps", fps, *FPS)
        options = widgets.given(Job, {**tracking, "person": str(tracking["person"])})
        how = TrackOptions(str(options["person"]), options["gap"], options["smoothing"])
        watch = Watch()
        watch.tick(0.0)
        estimator = estimators.open_estimator(poses, None, device, _CHANNELS[style])
        drawn_style = style_of(style, hands, face)
        if picture is None:
            height, width = frames.shape[1:3]
            found = list(track(estimator(watch.over(frames, len(frames), 0.0, 0.9)), fps, how))
            drawn = list(draw(found, width, height, drawn_style))
        else:
            found, drawn = _aligned(frames, picture, estimator, drawn_style, how, options, fps, watch)
        watch.tick(1.0)
        size = (drawn[0].shape[1], drawn[0].shape[0])
        return tensors.to_image(drawn), to_keypoints(found, drawn_style, size)


def _aligned(
    frames: np.ndarray,
    picture: np.ndarray,
    estimator: "Estimator",
    style: "Style",
    how: TrackOptions,
    options: dict[str, Any],
    fps: float,
    watch: Watch,
) -> "tuple[list[Pose], list[np.ndarray]]":
    """Poses that are aligned with a picture, and their drawings at its size: by what `scripts.animate` calls."""
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.preprocess.videos import find_poses, write_aligned_skeletons

    def shown_frames(taken: Iterable, count: int) -> Iterator[Any]:
        return watch.over(taken, count, 0.0, 0.8)

    with scratch() as folder:
        source = open_frames(write_frames(frames, folder, "images"), fps)
        reference = open_frames(write_picture(picture, folder, "reference_image"))
        found = find_poses(source, reference, estimator, how, shown_frames, fps=source.fps)
        way, unseen = options["align"], options["unseen_joints"]
        target = folder / "skeletons"
        aligned = write_aligned_skeletons(found, source, reference, target, style, way, source.fps, unseen=unseen)
        return list(aligned.drawn), list(open_frames(target))


class FaceMask:
    """Masks of the faces in pictures, as face optimisation needs them."""

    DESCRIPTION = "Masks of the boxes of faces. Of a picture without a face the mask is white all over."
    CATEGORY = CATEGORY
    RETURN_TYPES = ("MASK", "INT")
    RETURN_NAMES = ("masks", "without_face")
    OUTPUT_TOOLTIPS = ("1 where a face is", "number of pictures without a face")
    FUNCTION = "mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        told = "networks that find faces: those that ship (embedded), or antelopev2's, which are fetched"
        return {
            "required": {
                "images": ("IMAGE",),
                "detector": (list(DETECTORS), {"default": EMBEDDED, "tooltip": told}),
                "device": _DEVICE,
            }
        }

    def mask(self, images: Any, detector: str, device: str) -> tuple[Any, int]:
        """MASK, and how many pictures have no face."""
        frames, watch = tensors.frames_of(images, "images"), Watch()
        watch.tick(0.0)
        find = _open_detector(detector, device)
        boxes = [find(frame) for frame in watch.over(frames, len(frames), 0.0, 1.0)]
        watch.tick(1.0)
        size = (frames.shape[1], frames.shape[2])
        return tensors.to_mask([draw_mask(found, size) for found in boxes]), sum(not len(found) for found in boxes)


def _open_detector(detector: str, device: str) -> Callable[[np.ndarray], Any]:
    """What finds the boxes of the faces in a frame."""
    if detector == EMBEDDED:
        from ppdiffusers_ext.preprocess.blaze.face_boxes import FaceBoxes
        from ppdiffusers_ext.preprocess.blaze.networks import open_networks

        return FaceBoxes(open_networks(device)).find
    if detector != ANTELOPE:
        raise InputError(f"detector {shown(detector)} is not known; {any_of(DETECTORS)} is accepted")
    from ppdiffusers_ext.comfyui.models import found_path
    from ppdiffusers_ext.preprocess.faces import FaceAnalyzer

    analyzer = FaceAnalyzer(found_path(_FACES), device, recognises=False)
    return lambda frame: [face.box for face in analyzer.find(frame)]
