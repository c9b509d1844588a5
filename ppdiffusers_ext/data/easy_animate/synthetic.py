"""Captioned clips of drawn people, in the form of EasyAnimate's training data.

A clip shows a scene of `data.scenes`, which its caption names in English or Chinese. Some combinations of shirt,
background and motion are never drawn for training, so that there are prompts that no model has seen.
"""

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.scenes import COLORS, FPS, MOTIONS, Scene, all_scenes, draw_scene
from ppdiffusers_ext.data.video_writer import VideoWriter

LANGUAGES = ("en", "zh")
CHINESE = dict(zip(COLORS, ("红色", "橙色", "黄色", "绿色", "蓝色", "紫色", "粉色", "白色")))
# Motion -> phrases in English, phrases in Chinese.
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "stand": (("stands still", "does not move"), ("站着不动", "静静地站着")),
    "wave": (("waves", "waves a hand"), ("挥手", "在挥手")),
    "raise": (("raises both arms", "lifts both arms again and again"), ("举起双臂", "一次次举起双臂")),
    "jump": (("jumps", "jumps up and down"), ("跳跃", "上下跳")),
    "squat": (("squats", "squats down and gets up"), ("下蹲", "蹲下又站起")),
    "walk": (("walks to the right", "goes to the right"), ("向右走", "走向右边")),
}
_PHRASINGS = {
    "en": (
        "{a_person} in {a_shirt} shirt {motion} on {a_background} background",
        "{a_person} wearing {a_shirt} shirt {motion}, {background} background",
        "on {a_background} background, {a_person} in {a_shirt} shirt {motion}",
        "{a_background} background and {a_person} in {a_shirt} shirt who {motion}",
        "{a_person} with {a_shirt} shirt {motion} in front of {a_background} wall",
    ),
    "zh": (
        "一个穿{shirt}上衣的人在{background}背景前{motion}",
        "{background}背景，一个穿着{shirt}上衣的人{motion}",
        "穿{shirt}衬衫的人{motion}，背景是{background}",
        "{background}的墙前，穿{shirt}衬衫的人{motion}",
    ),
}
_PEOPLE = ("a person", "someone", "a figure")
_HELD_OUT = 7  # one of so many combinations is not drawn for training


def is_held_out(scene: Scene) -> bool:
    """True for combinations that are never drawn for training; of each colour and each motion there are others."""
    shirt, background = (list(COLORS).index(name) for name in (scene.shirt, scene.background))
    return (shirt + 2 * background + 3 * MOTIONS.index(scene.motion)) % _HELD_OUT == 0


def captions(scene: Scene, language: str) -> list[str]:
    """All ways to say what is to be seen in a scene, in one of `LANGUAGES`."""
    words = {}
    for role in ("shirt", "background"):
        name = getattr(scene, role)
        words[role] = name if language == "en" else CHINESE[name]
        words[f"a_{role}"] = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    phrases = PHRASES[scene.motion][LANGUAGES.index(language)]
    people = _PEOPLE if language == "en" else _PEOPLE[:1]
    ways = itertools.product(_PHRASINGS[language], phrases, people)
    return [phrasing.format(**words, motion=motion, a_person=person) for phrasing, motion, person in ways]


def caption_sets() -> tuple[list[list[str]], list[int]]:
    """All captions of each scene that is drawn for training, and the number of the scene that is most like each.

    That is the one with shirt and background exchanged, or if this is held out, another one.
    """
    scenes = [scene for scene in all_scenes() if not is_held_out(scene)]
    places = {scene: number for number, scene in enumerate(scenes)}
    exchanged = (Scene(scene.background, scene.shirt, scene.motion) for scene in scenes)
    alike = [places.get(scene, (number + 1) % len(scenes)) for number, scene in enumerate(exchanged)]
    return [[text for language in LANGUAGES for text in captions(scene, language)] for scene in scenes], alike


def synthetic_scene(seed: int | Sequence[int], held_out: bool = False) -> tuple[Scene, str]:
    """The scene of a seed and one of its captions; `held_out` says from which combinations."""
    rng = np.random.default_rng(seed)
    scenes = [scene for scene in all_scenes() if is_held_out(scene) == held_out]
    scene = scenes[rng.integers(len(scenes))]
    texts = captions(scene, LANGUAGES[rng.integers(len(LANGUAGES))])
    return scene, texts[rng.integers(len(texts))]


def write_captioned_clips(
    folder: str | os.PathLike, seed: int, numbers: Iterable[int], num_frames: int, side: int, style: str = "day"
) -> None:
    """Write drawn clips: NUMBER.mp4. Those there are kept.

    Args:
        folder, seed, numbers, num_frames, side: see `data.synthetic.write_clips`.
        style: one of `scenes.STYLES`.
    """
    for number in numbers:
        path = Path(folder) / f"{number:05d}.mp4"
        if path.exists():
            continue
        scene, _ = synthetic_scene((seed, number))
        frames = draw_scene(scene, (seed, number, 1), num_frames, side, style)
        with VideoWriter(path, FPS, 2 * side, 2 * side) as writer:
            writer.write(frames.repeat(2, axis=1).repeat(2, axis=2))


def make_records(folder: str | os.PathLike, seed: int, count: int, side: int) -> list[dict[str, Any]]:
    """The records of clips that `write_captioned_clips` draws, as the trainers read them.

    Args:
        folder, seed, side: see there.
        count: of the clips.
    """
    sizes = {"width": 2 * side, "height": 2 * side}
    return [
        {
            "file_path": str(Path(folder).absolute() / f"{number:05d}.mp4"),
            "text": synthetic_scene((seed, number))[1],
            "type": "video",
            **sizes,
        }
        for number in range(count)
    ]


def write_json_records(path: str | os.PathLike, records: Iterable[dict[str, Any]]) -> None:
    """Write records as a list in JSON."""
    with output_file(path) as temporary:
        text = json.dumps(list(records), ensure_ascii=False, indent=1) + "\n"
        Path(temporary).write_text(text, encoding="utf-8")
