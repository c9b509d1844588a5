"""Runner of the golden case of EasyAnimate's data chain: yields (tensor name, ours, the original's, tolerance).

The case's `resize_mask` is of V5's way to mask latents (`resize_inpaint_mask_directly`), which no network here has.
"""

from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.chain.cuts import Cuts
from ppdiffusers_ext.data.chain.filtering import Bounds, judge
from ppdiffusers_ext.data.chain.look import facts_of, look
from ppdiffusers_ext.data.chain.motion import Motion, flow_length, motion_score, sampled
from ppdiffusers_ext.data.chain.pieces import plan_pieces, seconds_of
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.chain.text import text_share
from ppdiffusers_ext.data.random_access import FrameReader

EXACT = 0.0
ROUNDED = 1e-5  # of a score, which the original rounds to 5 decimals
FLOW = 1e-4  # pixels


def data_filters(case):
    golden = case.json("outputs.json")
    yield from _motion(case, golden)
    yield from _cuts(case, golden["scene_detection"])
    yield from _pieces(golden["splitting"])
    for number, row in enumerate(golden["text_score"]):
        # Of pictures with quads the original counts the boxes alone: see `text_share`.
        boxes = row["horizontal_xmin_xmax_ymin_ymax"]
        yield f"text_score.{number}", text_share(boxes, [], *row["image_hw"]), row["text_score"], ROUNDED
    yield from _filter(golden["filter"])


def _motion(case, golden):
    greys = case.tensors("inputs")
    for name, expected in golden.items():
        if not isinstance(expected, dict) or "pair_means" not in expected:
            continue
        frames = greys[f"{name}.sampled_gray"].numpy()
        lengths = [flow_length(first, second) for first, second in zip(frames, frames[1:])]
        yield f"{name}.pair_means", np.array(lengths), np.array(expected["pair_means"]), FLOW
        yield f"{name}.motion_score_of_greys", motion_score(lengths), expected["motion_score"], FLOW
        path = case.folder / expected["file"]
        facts = facts_of(FrameReader(path))
        indices = list(range(0, expected["frames"], expected["frame_interval"]))
        yield f"{name}.indices", list(sampled(facts)), indices, EXACT
        (outcome,) = look(path, {}, [Motion()]).values()
        yield f"{name}.motion_score", outcome["columns"]["motion_score"], expected["motion_score"], FLOW
        kept = not judge(outcome["columns"], {"motion_score": Bounds(2, 20)})
        yield f"{name}.kept", kept, expected["kept_2_to_20"], EXACT


def _cuts(case, golden):
    for row in golden:
        place = Place(case.folder, Path("clips"))
        found = Cuts()({"key": row["video_path"]}, place)
        for name in ("timecode_list", "fram_rate", "frame_size", "duration"):
            yield f"{row['video_path']}.{name}", [found[name]], [row[name]], EXACT


def _pieces(golden):
    limits = golden["min_seconds"], golden["max_seconds"]
    for number, row in enumerate(golden["cases"]):
        scenes = [[seconds_of(time) for time in scene] for scene in row["timecodes"]]
        pieces = plan_pieces(scenes, seconds_of(row["duration"]), *limits)
        ours = [[piece.start, piece.seconds, f"vid_{piece.number}.mp4"] for piece in pieces]
        expected = [[seconds_of(clip["start"]), clip["seconds"], clip["file"]] for clip in row["clips"]]
        yield f"clips.{number}", ours, expected, EXACT


def _filter(golden):
    rows = {}
    for table in golden["tables"].values():
        for row in table:
            rows.setdefault(row["video_path"], {}).update(row)
    for row in rows.values():
        if "frame_size" in row:
            row["pixels"] = row["frame_size"][0] * row["frame_size"][1]
    of_criterion = _bounds(golden["thresholds"])
    together = {column: bounds for thresholds in of_criterion.values() for column, bounds in thresholds.items()}
    for criterion, names in golden["kept"].items():
        thresholds = together if criterion == "all" else of_criterion[criterion]
        kept = [name for name, row in rows.items() if not judge(row, thresholds, as_original=True)]
        yield f"kept.{criterion}", sorted(kept), sorted(names), EXACT


def _bounds(limits):
    """The thresholds of each criterion; that of text is named a minimum, and is a maximum."""
    return {
        "resolution_and_duration": {
            "pixels": Bounds(limits["min_resolution"]),
            "duration": Bounds(limits["min_duration"], limits["max_duration"]),
        },
        "aesthetic": {"aesthetic_score_siglip": Bounds(limits["min_aesthetic_score_siglip"])},
        "text": {"text_score": Bounds(None, limits["min_text_score"])},
        "motion": {"motion_score": Bounds(limits["min_motion_score"], limits["max_motion_score"])},
        "consistency": {
            "similarity_cross_frame": Bounds(limits["min_semantic_consistency_score"], reduce="min"),
        },
    }
