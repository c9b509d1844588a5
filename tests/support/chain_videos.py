"""Rendered videos whose cuts, texts, motions, people and copies are known, for tests of the data chain.

    write_videos(folder)          # a few seconds
    CLIPS["walk_0.mp4"].people    # what a clip shows

Drawn people stand before coloured blots, past which the camera pans.
"""

import functools
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from ppdiffusers_ext.data import synthetic
from ppdiffusers_ext.data.drawing import draw_person
from ppdiffusers_ext.data.synthetic import keypoints, random_person

FPS, WIDTH, HEIGHT = 10, 320, 240
MARGIN = 0.5  # seconds that a split leaves out at the end of a scene which a cut ends
_RATE = 16000  # Hz of the sound
_PERSON = 7  # seed of one whom the detector of text does not take for letters


@dataclass(frozen=True)
class Scene:
    """What is seen between two cuts.

    Attributes:
        seed: of the blots behind.
        seconds: of it.
        people: how many, 0 to 2.
        pan: pixels of a frame by which the camera moves; without it nothing moves.
        text: lines that are written over the picture.
        blur: standard deviation in pixels.
        light: factor of the brightness.
    """

    seed: int
    seconds: float = 3.6
    people: int = 1
    pan: float = 2.0
    text: tuple = ()
    blur: float = 0.0
    light: float = 1.0

    @property
    def num_frames(self):
        return round(self.seconds * FPS)


@dataclass(frozen=True)
class Video:
    """Scenes one after the other, in a file of `width` pixels; `crf` of H.264; `has_sound`: a tone of 440 Hz."""

    scenes: tuple
    width: int = WIDTH
    crf: int = 18
    has_sound: bool = False

    @property
    def cuts(self):
        """Numbers of the frames at which scenes begin, but for the first."""
        return np.cumsum([scene.num_frames for scene in self.scenes])[:-1].tolist()


_FIRST = Scene(1)
VIDEOS = {
    "walk.mp4": Video((_FIRST, Scene(2)), has_sound=True),
    "again/walk.mp4": Video((_FIRST,), width=288, crf=26),  # a copy
    "titles.mp4": Video((Scene(12, text=("SUMMER SALE", "up to 70 % off", "only today")), Scene(13))),
    "couple.mp4": Video((Scene(8, people=2),)),
    "hills and sea.mp4": Video((Scene(7, people=0), Scene(11, seconds=1.5), Scene(16, pan=0))),
    "soft.mp4": Video((Scene(17, blur=4),)),
    "night.mp4": Video((Scene(18, light=0.08),)),
}
# What cannot be a video, and why.
BROKEN = {"empty.mp4": b"", "torn.mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(64)}
SHORTEST = 3.0  # seconds of a clip


def _clips():
    """Key -> `Scene` of each clip that a split makes, as the original counts them: scenes that are short, too."""
    found = {}
    for name, video in VIDEOS.items():
        for number, scene in enumerate(video.scenes):
            if scene.seconds >= SHORTEST:
                found[f"{name.removesuffix('.mp4')}_{number}.mp4"] = scene
    return found


CLIPS = _clips()
COPIES = {frozenset(("again/walk_0.mp4", "walk_0.mp4"))}


def write_videos(folder, names=None, scale=1, broken=True):
    """Write the videos, or those of some names, below a folder, `scale` times as large; returns it."""
    for name in names or VIDEOS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, VIDEOS[name], scale)
    for name, content in (BROKEN if broken else {}).items():
        (folder / name).write_bytes(content)
    return folder


def frames_of(scene, scale=1):
    """Iterator over the (240, 320, 3) uint8 frames of a scene, or `scale` times as large."""
    for number in range(scene.num_frames):
        frame = _frame(scene, number)
        yield frame if scale == 1 else cv2.resize(frame, (WIDTH * scale, HEIGHT * scale))


def _frame(scene, number):
    moved = round(scene.pan * number)
    frame = _blots(scene.seed)[:, moved : moved + WIDTH].copy()
    for place in range(scene.people):
        person, mask = _person((scene.seed + place) % 2 == 0)
        centre = WIDTH * (place + 0.5) / scene.people + (round(scene.pan) and 0.4 * number - 8)
        _paste(frame, person, mask, round(centre - person.shape[1] / 2))
    if scene.text:
        frame = _with_text(frame, scene.text)
    if scene.blur:
        frame = cv2.GaussianBlur(frame, (0, 0), scene.blur)
    return (frame * scene.light).astype(np.uint8)


def _paste(frame, picture, mask, left):
    """Lay the masked part of a picture, as high as the frame, over it from the column `left` on, which may be < 0."""
    first, end = max(left, 0), min(left + picture.shape[1], frame.shape[1])
    part = slice(first - left, end - left)
    np.copyto(frame[:, first:end], picture[:, part], where=mask[:, part, None])


@functools.cache
def _blots(seed):
    """A wide picture of soft blots in a colour of its own, with some grain."""
    rng = np.random.default_rng(seed)
    width = WIDTH + 120
    colour = np.array([(37 * seed) % 180, 110 + 12 * (seed % 8), 130 + 40 * (seed % 3)])
    small = rng.normal(0, 1, (HEIGHT // 20, width // 20, 3)) * (6, 40, 45) + colour
    hsv = np.clip(cv2.resize(small, (width, HEIGHT), interpolation=cv2.INTER_CUBIC), 0, (179, 255, 255))
    picture = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    return np.clip(picture + rng.normal(0, 4, (HEIGHT, width, 1)), 0, 255).astype(np.uint8)


@functools.cache
def _person(is_mirrored):
    """(240, 320, 3) uint8 of a drawn person who is close, and where the person is: what no wall shows through."""
    rng = np.random.default_rng(_PERSON)
    person, motion, camera = random_person(rng), synthetic._motion(rng), synthetic._camera(rng)
    camera.zoom, camera.rise, camera.shift = 2 * camera.zoom, camera.rise + 0.19, 0
    points, drawn = keypoints(person, motion, 0), []
    for wall in ((10, 10, 10), (240, 240, 240)):
        person.wall = person.floor = wall
        drawn.append(draw_person(person, points, camera, WIDTH, HEIGHT)[:, :: -1 if is_mirrored else 1])
    return drawn[0], (np.abs(drawn[0].astype(int) - drawn[1]) < 40).all(axis=2)


def _with_text(frame, lines):
    picture = PIL.Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        font = ImageFont.load_default(30)  # Pillow's own
        draw.text((20, 112 + 42 * number), line, "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(picture)


def _write(path, video, scale):
    """H.264, coded fast and always alike, and AAC."""
    width = video.width * scale
    height = HEIGHT * width // WIDTH
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(video.crf), "preset": "veryfast", "x264-params": "mbtree=0:cpu-independent=1"}
        stream.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=_RATE, layout="mono") if video.has_sound else None
        for scene in video.scenes:
            for frame in frames_of(scene, scale):
                if frame.shape[1] != width:
                    frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            for frame in _tone(sum(scene.seconds for scene in video.scenes)):
                container.mux(sound.encode(frame))
            container.mux(sound.encode())


def _tone(seconds):
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * _RATE)) / _RATE)
    for start in range(0, len(wave), 1024):
        part = np.ascontiguousarray(wave[None, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
        yield frame
