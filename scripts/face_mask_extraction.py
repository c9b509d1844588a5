"""Mask the faces in pictures, as StableAnimator needs them.

    python -m scripts.face_mask_extraction --image_folder animation_data/rec/00001/images

Writes a mask for each picture, white where a face is, under the same names into the folder faces/ beside the pictures.
Where insightface sees no face, RetinaFace looks, if its weights are there (`python scripts/download_weights.py --only
retinaface`); a picture in which no face is found gets a mask that is white all over. What is there already is passed
over. Instead of a folder, a video is accepted; its masks are named frame_0.png and so on.
"""

import sys
from pathlib import Path

from .command import ArgumentParser, run
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
    return parser


def work(options):
    """Find and draw what is missing; say how many pictures show no face."""
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.preprocess.faces import write_face_masks

    open_frames(options.image_folder)  # before networks are opened
    target = options.output or Path(options.image_folder).parent / "faces"
    find = _open_finders(options)
    made, without = write_face_masks(options.image_folder, target, find, progress("faces"))
    print(f"{target}: {made} made")
    if without:
        print(f"note: no face was found in {without} of them, whose masks are white all over", file=sys.stderr)


def _open_finders(options):
    """What finds the boxes of the faces in a frame: insightface, or RetinaFace where that sees none."""
    from ppdiffusers_ext.preprocess.faces import FaceAnalyzer
    from ppdiffusers_ext.preprocess.retinaface import FILE, FaceFinder

    analyzer = FaceAnalyzer(options.faces, options.device, recognises=False)
    path = Path(options.retinaface or Path(options.faces) / FILE)
    fallback = FaceFinder(path) if options.retinaface or path.exists() else None

    def find(frame):
        boxes = [face.box for face in analyzer.find(frame)]
        return boxes if boxes or fallback is None else fallback.find(frame)

    return find


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
