"""What EasyAnimate's training needs of raw videos: clips with captions, in the original's meta file.

The steps are those of aigc-apps/EasyAnimate, `easyanimate/video_caption`, which ends with this file, too
(`filter_meta_train.py`).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.steps import Place, Row
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError

META = "json_of_internal_datasets.json"


def write_meta(rows: Iterable[Row], place: Place, options: ChainOptions) -> Sequence[Path]:
    """Write the meta file that `clips.find_captioned_clips` reads; paths in it begin at its folder.

    Returns:
        Its path; nothing where no clip is kept, and then there is no such file.
    """
    path = place.output / META
    entries = (_entry(row, place) for row in rows)
    if (first := next(entries, None)) is None:
        path.unlink(missing_ok=True)
        return ()
    with output_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f"[\n {first}")
        file.writelines(f",\n {entry}" for entry in entries)
        file.write("\n]\n")
    return (path,)


def _entry(row: Row, place: Place) -> str:
    name = place.file_of(row).relative_to(place.output).as_posix()
    entry = {"file_path": name, "text": row.get("caption", ""), "type": "video"}
    return json.dumps(entry | {side: row[side] for side in ("width", "height")}, ensure_ascii=False)


def check(options: ChainOptions, names: Sequence[str]) -> None:
    """Refuse captions of which nobody says where they are from."""
    if "captions" in names and options.captioner is None and options.captions is None:
        raise InputError(
            "training needs captions, and no captioner is given; --captioner URL --model NAME is accepted, --captions "
            "FILE for those of a file, or --captioner none for those of NAME.txt beside each video"
        )


PROFILE = Profile(
    steps=(
        *("probe", "cuts", "split", "sharpness", "motion", "text", "fingerprint"),
        *("duplicates", "consistency", "aesthetics", "captions", "filter"),
    ),
    finish=write_meta,
    check=check,
)
