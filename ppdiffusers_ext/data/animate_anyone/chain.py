"""Training sets of the data chain: videos of one person, each with the video of its poses, named in a meta file.

The folder of the run has the `ubcNbili_data` layout: `clips`, `video_dwpose`, and `meta_data/ubcNbili_meta.json`, a
file as Moore-AnimateAnyone's `tools/extract_meta_info.py` writes it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.data.animate_anyone.clips import META_FOLDER, POSE_FOLDER
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.skeletons import SkeletonVideos
from ppdiffusers_ext.data.chain.steps import Place, Row, Step
from ppdiffusers_ext.data.meta_files import write_rows
from ppdiffusers_ext.preprocess.estimators import AUTO, choose_estimator

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.options import ChainOptions

META_FILE = "ubcNbili_meta.json"  # as the trainer's options name it


def own_steps(options: "ChainOptions") -> Sequence[Step]:
    """The step that draws skeletons."""
    return [SkeletonVideos(style="animate_anyone", folder=POSE_FOLDER, estimator=choose_estimator(AUTO))]


def finish(rows: Iterable[Row], place: Place, options: "ChainOptions | None" = None) -> Sequence[Path]:
    """Write the meta file, whose paths begin at the folder of the run, and return its path.

    Where no clip is kept there is no such file, and nothing is returned.
    """
    path = place.output / META_FOLDER / META_FILE
    clips = place.clips.relative_to(place.output).as_posix()
    entries = [{"video_path": f"{clips}/{row['key']}", "kps_path": row["kps_path"]} for row in rows]
    if not entries:
        path.unlink(missing_ok=True)
        return ()
    write_rows(path, entries)
    return (path,)


PROFILE = Profile(
    steps=(
        *("probe", "cuts", "split", "sharpness", "motion", "text", "people", "fingerprint"),
        *("duplicates", "filter", "skeletons"),
    ),
    finish=finish,
    thresholds={
        "people": {"people_median": {"min": 1}, "people_max": {"max": 1}},
        "skeletons": {"skeleton_share": {"min": 0.9}},
    },
    own_steps=own_steps,
)
