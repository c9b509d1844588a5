"""Training sets of the data chain: pictures, skeletons and face masks of clips, and path lists of their folders.

The layout is that of Francis-Rings/StableAnimator's training data; see `data.stable_animator.clips`. The original
trains on two sets, `rec` of 512x512 and `vec` of 576x1024: upright clips are listed for the second.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.data.chain.faces import Faces
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.skeletons import SkeletonPictures
from ppdiffusers_ext.data.chain.steps import Place, Row, Step
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.preprocess.estimators import AUTO, choose_estimator
from ppdiffusers_ext.preprocess.face_finders import choose_detector

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.options import ChainOptions

FOLDER = "animation_data"  # of the clips' folders, below the folder of the run
LISTS = {"rec": "video_rec_path.txt", "vec": "video_vec_path.txt"}


def own_steps(options: "ChainOptions") -> Sequence[Step]:
    """The steps that draw skeletons and masks."""
    return [
        SkeletonPictures(style="stable_animator", folder=FOLDER, estimator=choose_estimator(AUTO)),
        Faces(detector=choose_detector()),
    ]


def finish(rows: Iterable[Row], place: Place, options: "ChainOptions | None" = None) -> Sequence[Path]:
    """Write the path lists, beside the folders; one that would be empty is not written."""
    folders: dict[str, list[str]] = {name: [] for name in LISTS}
    for row in rows:
        folders["vec" if row["height"] > row["width"] else "rec"].append(row["clip_folder"].removeprefix(f"{FOLDER}/"))
    written = []
    for name, file in LISTS.items():
        path = place.output / FOLDER / file
        if folders[name]:
            with output_file(path) as temporary:
                Path(temporary).write_text("".join(f"{folder}\n" for folder in folders[name]), encoding="utf-8")
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return written


PROFILE = Profile(
    steps=(
        *("probe", "cuts", "split", "sharpness", "motion", "text", "people", "fingerprint"),
        *("duplicates", "filter", "skeletons", "faces"),
    ),
    finish=finish,
    thresholds={
        "people": {"people_median": {"min": 1}, "people_max": {"max": 1}},
        "skeletons": {"skeleton_share": {"min": 0.9}},
        "faces": {"face_share": {"min": 0.5}},
    },
    own_steps=own_steps,
)
