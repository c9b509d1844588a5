"""Mask the faces in pictures, as StableAnimator needs them.

    python -m scripts.face_mask_extraction --image_folder animation_data/rec/00001/images

Writes a mask for each picture, white where a face is, under the same names into the folder faces/ beside the pictures.
Where insightface sees no face, RetinaFace looks, if its weights are there (`python scripts/download_weights.py --only
retinaface`); a picture in which no face is found gets a mask that is white all over. If some masks exist,
--skip-existing goes on with the others, as after a run that was stopped. Instead of a folder, a video is accepted; its
masks are named frame_0.png and so on.
"""

import sys
from pathlib import Path

from .command import ArgumentParser, add_existing, run
from .poses import progress

WEIGHTS = "pretrained_weights/stable_animator"


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.face_mask_extraction", description=__doc__)
    parser.add_argument("--image_folder", required=True, metavar="DIR", help="pictures, or a video file")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: faces, beside the pictures)")
    parser.add_argument(
        "--faces", metavar="DIR", default=WEIGHTS, help=f"in which models/antelopev2 has the ONNX files ({WEIGHTS})"
    )
    parser.add_argument("--retinaface", metavar="FILE", help="its weights (default: facexlib/... below --faces)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or gpu (default: cpu)")
    return add_existing(parser)


def work(options):
    """Find and draw what is missing; say how many pictures show no face."""
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.preprocess.faces import write_face_masks

    source = open_frames(options.image_folder)  # before networks are opened
    target = Path(options.output or Path(options.image_folder).parent / "faces")
    made = {target / name: of for name, of in _made_of(source, options).items()}
    results = check_existing(made, options.overwrite, options.skip_existing, pattern=r".+\.png")
    find = _open_finders(options)
    names = {path.name for path in results.missing}
    with results.recorded():
        without = write_face_masks(source, target, find, names, progress("faces"))
    print(f"{target}: {len(names)} made, kept: {results.kept}")
    if without:
        print(f"note: no face was found in {without} of them, whose masks are white all over", file=sys.stderr)


def _made_of(source, options):
    """Name of each mask -> what gives its `Made`: of the networks, and of its picture, or of the whole video."""
    from functools import partial

    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.files import check_all_there
    from ppdiffusers_ext.preprocess.faces import mask_names, network_files

    networks = {"--faces": digest(network_files(options.faces, recognises=False)[0])}
    if (path := _retinaface(options)) is not None:
        check_all_there([("weights", path)], "`python scripts/download_weights.py --only retinaface` fetches them")
        networks["--retinaface"] = digest(path)

    def of_picture(name):
        return Made("face_mask_extraction", {"its picture": digest(source.path / name), **networks})

    def of_video():
        return Made("face_mask_extraction", {"--image_folder": source.digest(), **networks})

    names = mask_names(source)
    if not source.names:
        return dict.fromkeys(names, of_video)
    return {name: partial(of_picture, picture) for name, picture in zip(names, source.names, strict=True)}


def _retinaface(options):
    """The path of RetinaFace's weights; None if they are not there."""
    from ppdiffusers_ext.preprocess.retinaface import FILE

    path = Path(options.retinaface or Path(options.faces) / FILE)
    return path if options.retinaface or path.exists() else None


def _open_finders(options):
    """What finds the boxes of the faces in a frame: insightface, or RetinaFace where that sees none."""
    from ppdiffusers_ext.preprocess.faces import FaceAnalyzer
    from ppdiffusers_ext.preprocess.retinaface import FaceFinder

    analyzer = FaceAnalyzer(options.faces, options.device, recognises=False)
    path = _retinaface(options)
    fallback = None if path is None else FaceFinder(path)

    def find(frame):
        boxes = [face.box for face in analyzer.find(frame)]
        return boxes if boxes or fallback is None else fallback.find(frame)

    return find


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
