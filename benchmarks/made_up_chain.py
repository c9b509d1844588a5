"""A run of the data chain over made-up rows: files of one byte in place of videos, scores that follow from names."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar
from unittest import mock

from ppdiffusers_ext.data.chain import catalogue, run
from ppdiffusers_ext.data.chain.duplicates import Duplicates
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.steps import VIDEO, Step


@dataclass(frozen=True, kw_only=True)
class Probe(Step):
    """Takes any file for a video."""

    name: ClassVar[str] = "probe"
    level: ClassVar[str] = VIDEO

    def __call__(self, row, place):
        return {"stem": row["stem"], "size": row["size"]}


@dataclass(frozen=True, kw_only=True)
class Split(Step):
    """Rows of clips without files."""

    name: ClassVar[str] = "split"
    level: ClassVar[str] = VIDEO
    clips: int

    def __call__(self, row, place):
        sizes = {"width": 1920, "height": 1080, "num_frames": 100, "fps": 25.0, "seconds": 4.0}
        return [{"key": f"{row['stem']}_{i}.mp4", "video": row["key"], **sizes} for i in range(self.clips)]


@dataclass(frozen=True, kw_only=True)
class Scores(Step):
    """Numbers as the measures give them."""

    name: ClassVar[str] = "scores"

    def __call__(self, row, place):
        digest = hashlib.sha256(row["key"].encode()).digest()
        hashes = [digest[start : start + 8].hex() for start in (0, 8, 16)]
        return {"sharpness": digest[24] / 2, "motion_speed": digest[25] / 100, "fingerprint": hashes}


@dataclass(frozen=True, kw_only=True)
class MadeUpDuplicates(Duplicates):
    needs: ClassVar[tuple[str, ...]] = ("scores",)


def run_rows(folder, rows, clips_of_video):
    """Run over so many clips; returns how many are kept."""
    (folder / "videos").mkdir()
    for number in range(-(-rows // clips_of_video)):
        (folder / "videos" / f"{number}.mp4").write_bytes(b"v")
    (folder / "config.yaml").write_text("scores: {thresholds: {sharpness: {min: 15}, motion_speed: {max: 2}}}\n")
    steps = {
        "probe": lambda options: Probe(),
        "split": lambda options: Split(clips=clips_of_video),
        "scores": lambda options: Scores(),
        "duplicates": lambda options: MadeUpDuplicates(),
    }
    profile = Profile(steps=tuple(steps), finish=lambda kept, place, options: [sum(1 for _ in kept)])
    options = ChainOptions(
        source=str(folder / "videos"),
        output=str(folder / "set"),
        system="easy_animate",
        config=str(folder / "config.yaml"),
        workers=0,
    )
    with mock.patch.object(catalogue, "STEPS", steps), mock.patch.object(run, "profile_of", lambda system: profile):
        summary = run.prepare_videos(options)
    return summary.kept
