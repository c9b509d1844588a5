"""Makers of the odd video files that cameras, cutters, recorders and shops write; PyAV and bytes are enough."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def encode(path, frames, codec="libx264", pix_fmt="yuv420p", times=None, unit=Fraction(1, 1000), **options):
    """A file straight from PyAV: 30 frames a second, or with frames that begin at `times`, in units."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pix_fmt
        stream.options = {name: str(value) for name, value in options.items()}
        if times is not None:
            stream.codec_context.time_base = unit
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets_of(path):
    """The packets of a video: (bytes, time, whether decoding can begin there)."""
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def cut(source, target, key=None, packet=None):
    """Copy a video from its keyframe, or its packet, of this number on, without coding it anew."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as part:
        stream = whole.streams.video[0]
        copied, keys = part.add_stream(template=stream), -1
        for number, found in enumerate(p for p in whole.demux(stream) if p.size):
            keys += found.is_keyframe
            if (keys >= key) if packet is None else (number >= packet):
                found.stream = copied
                part.mux(found)
    return target


def set_matrix(path, a, b, c, d):
    """Write the display matrix of an MP4 file: a stored point (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    position = content.index(b"tkhd") + 44
    values = (a, b, 0, c, d, 0, 0, 0)
    content[position : position + 36] = struct.pack(">9i", *(round(value * 65536) for value in values), 1 << 30)
    path.write_bytes(content)
    return path


def box(kind, *contents):
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def jpeg(color=(90, 90, 90), size=(32, 32)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG")
    return file.getvalue()


def add_cover(path, is_first):
    """Give an MP4 file, whose index is at its end, a cover picture: FFmpeg's first video stream, or its last."""
    content = path.read_bytes()
    start = content.index(b"moov") - 4
    moov = content[start + 8 :]
    data = box(b"data", struct.pack(">II", 13, 0), jpeg())
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    cover = box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", box(b"covr", data))))
    place = moov.index(b"trak") - 4 if is_first else len(moov)
    path.write_bytes(content[:start] + box(b"moov", moov[:place], cover, moov[place:]))
    return path


def element(name, *contents, size=None):
    """An element of Matroska; of unknown size for `size=-1`."""
    content = b"".join(contents)
    length = (1 << 56) - 1 if size == -1 else len(content)
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (length | 1 << 56).to_bytes(8, "big") + content


def number(value):
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def matroska(path, codec, size, blocks, is_live=True, extra=(), video=(), doc=b"webm"):
    """A WebM file as recorders in browsers write it: no duration, no rate, times in whole milliseconds.

    Args:
        codec: V_VP8 or V_VP9.
        blocks: (bytes, milliseconds, whether decoding can begin there).
        is_live: segment and clusters of unknown size.
        extra: elements of the segment behind its tracks.
        video: elements of the picture's description.
    """
    head = element(0x1A45DFA3, element(0x4282, doc), element(0x4287, number(4)), element(0x4285, number(2)))
    picture = element(0xE0, element(0xB0, number(size[0])), element(0xBA, number(size[1])), *video)
    track = element(
        0xAE, element(0xD7, number(1)), element(0x73C5, number(7)), element(0x83, number(1)),
        element(0x86, codec), picture,
    )  # fmt: skip
    info = element(
        0x1549A966, element(0x2AD7B1, number(1_000_000)), element(0x4D80, b"Chrome"), element(0x5741, b"Chrome")
    )
    clusters, unknown = [], -1 if is_live else None
    for start in range(0, len(blocks), 8):
        group = blocks[start : start + 8]
        begin = group[0][1]
        inner = [
            element(0xA3, b"\x81", struct.pack(">hB", time - begin, 0x80 * is_key), content)
            for content, time, is_key in group
        ]
        clusters.append(element(0x1F43B675, element(0xE7, number(begin)), *inner, size=unknown))
    segment = element(0x18538067, info, element(0x1654AE6B, track), *extra, *clusters, size=unknown)
    path.write_bytes(head + segment)
    return path


def browser_webm(path, frames, times, codec="libvpx", **options):
    """`matroska` of frames coded by libvpx that begin at `times`, in milliseconds."""
    coded = path.with_name(f"coded_{path.stem}.webm")
    packets = packets_of(encode(coded, frames, codec, **options))
    coded.unlink()
    name = b"V_VP9" if "vp9" in codec else b"V_VP8"
    blocks = [(content, time, is_key) for (content, _, is_key), time in zip(packets, times)]
    return matroska(path, name, frames[0].shape[1::-1], blocks)


def attachment(content=None):
    """An element of Matroska that attaches a picture."""
    file = element(
        0x61A7, element(0x466E, b"cover.jpg"), element(0x4660, b"image/jpeg"),
        element(0x465C, content or jpeg()), element(0x46AE, number(9)),
    )  # fmt: skip
    return element(0x1941A469, file)


def encode_with_aspect(path, frames, aspect, codec="libx264"):
    """A video whose pixels have the shape `aspect`, width to height, by what its stream says."""
    return encode(path, frames, codec, **{"x264-params": f"sar={aspect.numerator}\\:{aspect.denominator}"})


def ramp(num_frames=8, height=32, width=48):
    """Frames whose corners and numbers can be told: grey 20 + 5 i, red at the top left, green at the top right."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = 20 + 5 * np.arange(num_frames)[:, None, None, None] % 230
    frames[:, : height // 2, : width // 3] = (200, 30, 30)
    frames[:, : height // 2, -width // 3 :] = (30, 200, 30)
    return frames


def animation(path, frames, durations, **options):
    """An animated GIF, PNG or WebP of (H, W, 3 or 4) arrays; durations in milliseconds, one or one each."""
    pictures = [Image.fromarray(frame) for frame in frames]
    kind = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}[path.suffix]
    options = {"lossless": True} | options if kind == "WEBP" else options
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)
    return path


def two_tracks(path, codec, first, second):
    """A file of two video tracks: pictures in `codec`, and H.264."""
    with av.open(str(path), "w") as container:
        streams = []
        for name, frames in ((codec, first), ("libx264", second)):
            stream = container.add_stream(name, rate=30)
            stream.width, stream.height = frames.shape[2], frames.shape[1]
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(name, "yuv420p")
            streams.append(stream)
        for stream, frames in zip(streams, (first, second)):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return path
