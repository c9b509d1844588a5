"""Videos whose frames say their own number, so that what was taken from where can be read from the pixels."""

from fractions import Fraction

import av
import numpy as np

from ppdiffusers_ext.data.video import read_frames

_BITS, _CELL = 10, 16


def numbered(number, height=48, width=160, color=(60, 120, 60)):
    """A frame with its number in black and white cells along its top."""
    frame = np.full((height, width, 3), color, np.uint8)
    for bit in range(_BITS):
        frame[:_CELL, bit * _CELL : (bit + 1) * _CELL] = 255 * (number >> bit & 1)
    return frame


def number_of(frame):
    return sum(int(frame[_CELL // 2, bit * _CELL + _CELL // 2].mean() > 128) << bit for bit in range(_BITS))


def numbers_in(path):
    return [number_of(frame) for frame in read_frames(path)]


def write_numbered(path, count, fps=12, click=None, codec="aac", rate=16000, shade=lambda index: (60, 120, 60)):
    """A video of numbered frames; with `click` seconds, with sound in which a click is heard then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(fps))
        video.width, video.height, video.pix_fmt = 160, 48, "yuv420p"
        video.options = {"g": "24", "preset": "veryfast"}
        sound = None
        if click is not None:
            sound = container.add_stream(codec, rate=rate)
            sound.codec_context.layout = "mono"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(index, color=shade(index)), format="rgb24")
            frame.pts, frame.time_base = index, 1 / Fraction(fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            samples = np.random.default_rng(0).normal(0, 0.01, int(count / fps * rate)).astype(np.float32)
            samples[int(click * rate) : int(click * rate) + rate // 100] = 0.9
            for start in range(0, len(samples), 1024):
                part = np.ascontiguousarray(samples[None, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path
