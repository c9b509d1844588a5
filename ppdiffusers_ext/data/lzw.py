"""How many pixels the compressed bytes of a GIF's frame are, without making them (GIF89a, appendix F).

A damaged length of a block makes one frame swallow those behind it, or end too early. Decoders stop at the last pixel
and do not mind what follows, and leave those that are missing as they were.
"""

from functools import lru_cache

import numpy as np

_MOST_BITS = 12
_WINDOW = 1 << _MOST_BITS  # codes that are looked at together: more than there can be entries in the table


def measure_pixels(content: bytes, code_size: int) -> tuple[int, int]:
    """(pixels, bytes behind the one that has the code that ends them; 0 where no code does).

    Args:
        content: compressed bytes of a frame.
        code_size: bits of a pixel, from which the widths of codes follow.

    Raises:
        ValueError: a code stands for nothing.
    """
    # Four bytes from each one on, as a number, of which a code of 12 bits at any bit of the first is a part.
    padded = np.frombuffer(content + bytes(4), np.uint8).astype(np.uint32)
    words = padded[:-3] | padded[1:-2] << 8 | padded[2:-1] << 16 | padded[3:] << 24
    clear, end, total = 1 << code_size, (1 << code_size) + 1, 8 * len(content)
    start, number, pixels, lengths = 0, 0, 0, None  # bits from the begin; codes since the table was cleared
    while True:
        places, widths = _places(code_size, min(number, _WINDOW))
        places = places + start
        count = int(np.searchsorted(places + widths, total, "right"))
        codes = words[places[:count] >> 3] >> (places[:count] & 7).astype(np.uint32)
        codes = (codes & ((1 << widths[:count]) - 1).astype(np.uint32)).astype(np.int64)
        found = np.flatnonzero((codes == clear) | (codes == end))
        data = codes[: found[0]] if len(found) else codes
        lengths, added = _lengths(data, end + 1, lengths if number else None)
        pixels += added
        if not len(found) and count < _WINDOW:
            return pixels, 0
        last = int(found[0]) if len(found) else count - 1
        start = int(places[last] + widths[last])
        if len(found) and codes[last] == end:
            return pixels, len(content) - (start + 7) // 8
        number = 0 if len(found) else number + count


@lru_cache(maxsize=32)
def _places(code_size: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits at which the next codes begin, and their widths, when there were so many since the table was cleared.

    Each code but the first adds an entry; the width grows when the entries no longer fit, up to 12 bits.
    """
    entries = (1 << code_size) + 2 + np.maximum(np.arange(number, number + _WINDOW) - 1, 0)
    widths = np.clip(np.floor(np.log2(entries)).astype(np.int64) + 1, code_size + 1, _MOST_BITS)
    return np.concatenate([[0], np.cumsum(widths)[:-1]]), widths


def _lengths(codes: np.ndarray, first_entry: int, known: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Pixels of each code that the table's entries are made of, and pixels of all these codes.

    Entry n is what the n-th code since the table was cleared stands for, and one pixel more.

    Args:
        codes: since the table was cleared; or more of them, when `known` is what was returned for the first.
    """
    parents = np.where(codes >= first_entry, codes - first_entry, -1)
    if known is not None:
        if (parents >= len(known)).any():
            raise ValueError("it has a code that stands for nothing")
        return known, int((1 + np.where(parents >= 0, known[parents], 0)).sum())
    if (parents >= np.arange(len(codes))).any():
        raise ValueError("it has a code that stands for nothing")
    lengths = np.ones(len(codes), np.int64)
    while (parents >= 0).any():  # each round doubles how far back a code is followed
        has_parent = parents >= 0
        lengths = lengths + np.where(has_parent, lengths[parents], 0)
        parents = np.where(has_parent, parents[parents], -1)
    return lengths, int(lengths.sum())
