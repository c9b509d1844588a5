"""Mask the faces in pictures, as StableAnimator needs them.

    python -m scripts.face_mask_extraction --image_folder animation_data/rec/00001/images

Writes a mask for each picture, white where a face is, under the same names into the folder faces/ beside the pictures.
Faces are found by insightface's antelopev2 where its files are, else by MediaPipe's detector, which ships with the
package. Where these see none, RetinaFace looks, if its weights are there (`python scripts/download_weights.py --only
retinaface`); a picture in which no face is found gets a mask that is white all over. If some masks exist,
--skip-existing goes on with the others, as after a run that was stopped. Instead of a folder, a video is accepted; its
masks are named frame_0.png and so on.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.options import ExistingOptions, option, path_option
from ppdiffusers_ext.preprocess.face_finders import AUTO, DETECTORS, EMBEDDED, FACES

from .command import ArgumentParser, run
from .poses import DeviceOptions, progress

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(DeviceOptions, ExistingOptions):
    image_folder: str = path_option(help="folder of pictures, or a video file", metavar="DIR")
    output: str | None = path_option(None, help="folder to write", unset="faces, beside the pictures", metavar="DIR")
    detector: str = option(
        AUTO,
        choices=DETECTORS,
        help="what finds faces: antelopev2, embedded (MediaPipe's, which ships with the package), or auto: antelopev2 "
        "where its files are",
        metavar="NAME",
    )
    faces: str | None = path_option(
        None, help="folder with the ONNX files in models/antelopev2", unset=FACES, metavar="DIR"
    )
    retinaface: str | None = path_option(None, help="weights of RetinaFace", unset="facexlib/... below --faces")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.face_mask_extraction", __doc__, Options)


def work(options: Options) -> None:
    """Find and draw what is missing; say how many pictures show no face."""
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.outputs import check_outputs
    from ppdiffusers_ext.preprocess.faces import write_face_masks

    source = replace(open_frames(options.image_folder), is_mixed=True)  # before networks are opened
    target = Path(options.output or Path(options.image_folder).parent / "faces")
    made = {target / name: of for name, of in _made_of(source, options).items()}
    results = check_existing(made, options.overwrite, options.skip_existing, pattern=r".+\.png")
    check_outputs(results.missing[:1], [options.image_folder])
    find = _open_finder(options)
    names = {path.name for path in results.missing}
    with results.recorded():
        without = write_face_masks(source, target, find, names, progress("faces"))
    print(f"{target}: {len(names)} made, kept: {results.kept}")
    if without:
        print(f"note: no face was found in {without} of them, whose masks are white all over", file=sys.stderr)


def _made_of(source: "FrameSource", options: Options) -> "dict[str, Callable[[], Made]]":
    """Name of each mask -> what gives its `Made`: of the networks, and of its picture, or of the whole video."""
    from functools import partial

    from ppdiffusers_ext.data.records import Made, digest, digest_of
    from ppdiffusers_ext.files import check_all_there
    from ppdiffusers_ext.preprocess.blaze import networks as embedded
    from ppdiffusers_ext.preprocess.face_finders import choose_detector
    from ppdiffusers_ext.preprocess.faces import mask_names, network_files

    if choose_detector(options.detector, options.faces) == EMBEDDED:
        networks = {"--detector": digest_of([digest(path) for path in embedded.network_files()])}
    else:
        networks = {"--faces": digest(network_files(options.faces or FACES, recognises=False)[0])}
    if (path := _retinaface(options)) is not None:
        check_all_there([("weights", path)], "`python scripts/download_weights.py --only retinaface` fetches them")
        networks["--retinaface"] = digest(path)

    def of_picture(name: str) -> Made:
        return Made("face_mask_extraction", {"its picture": digest(source.path / name), **networks})

    def of_video() -> Made:
        return Made("face_mask_extraction", {"--image_folder": source.digest(), **networks})

    names = mask_names(source)
    if not source.names:
        return dict.fromkeys(names, of_video)
    return {name: partial(of_picture, picture) for name, picture in zip(names, source.names, strict=True)}


def _retinaface(options: Options) -> Path | None:
    """The path of RetinaFace's weights; None if they are not there."""
    from ppdiffusers_ext.preprocess.face_finders import find_retinaface

    return find_retinaface(options.faces, options.retinaface)


def _open_finder(options: Options) -> "Callable[[np.ndarray], Sequence | np.ndarray]":
    """What finds the boxes of the faces in a frame; says on stderr which that is."""
    from ppdiffusers_ext.preprocess.face_finders import describe_detector, open_finder

    print(describe_detector(options.detector, options.faces), file=sys.stderr)
    return open_finder(options.detector, options.faces, _retinaface(options), options.device)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
