"""Duplicates among clips: which of those that look the same is kept.

Two fingerprints that differ in few bits are equal in one of many bands of bits at least (Manku et al. 2007, "Detecting
near-duplicates for web crawling"), so that a clip is compared with a few others and not with all.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ppdiffusers_ext.data.chain.fingerprints import BITS
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, SetStep
from ppdiffusers_ext.data.chain.tables import natural_key
from ppdiffusers_ext.errors import InputError, shown, shown_path
from ppdiffusers_ext.options import option

MAX_DISTANCE = 5.0


@dataclass(frozen=True, kw_only=True)
class Duplicates(SetStep):
    """Finds clips that look the same as others.

    Columns: `duplicate_of`, the key of the clip that is kept instead, null of a clip that is kept; `is_duplicate`,
    whether there is one, which a threshold can be of.

    Attributes:
        max_distance, within_videos: see `find_duplicates`.
    """

    name: ClassVar[str] = "duplicates"
    needs: ClassVar[tuple[str, ...]] = ("fingerprint",)

    max_distance: float = option(MAX_DISTANCE, 0, 64)
    within_videos: bool = False

    def over(self, rows: Iterable[Row], place: Place) -> Iterable[Columns]:
        for key, columns in find_duplicates(rows, self.max_distance, self.within_videos):
            yield {"key": key, **columns, "is_duplicate": columns["duplicate_of"] is not None}


def find_duplicates(
    rows: Iterable[Row], max_distance: float = MAX_DISTANCE, within_videos: bool = False
) -> Iterator[tuple[str, Columns]]:
    """The key of each clip, in natural order, and its column `duplicate_of`: the key of the clip that is kept instead.

    Of clips that look the same the first in natural order is kept, whose column is None. Each is compared with those
    that are kept, so that a chain of small differences does not join what differs much.

    Args:
        rows: with `key`, `video` and `fingerprint`, in any order. About 3 kB of each stay in memory.
        max_distance: bits of 64, as a mean of the frames, up to which clips look the same.
        within_videos: whether clips of one video are compared, too: pieces of one shot of a face that talks look the
            same and are not.

    Raises:
        InputError: a distance that is none, or a fingerprint that cannot be read.
    """
    if not 0 <= max_distance < BITS / 2:
        raise InputError(f"clips that differ in {shown(max_distance)} bits of {BITS}; 0 to 31 is accepted")
    known = sorted(((row["key"], row.get("video"), *_read(row)) for row in rows), key=lambda row: natural_key(row[0]))
    tables: dict[int, _Table] = {}
    for key, video, fingerprint, count in known:
        table = tables.setdefault(count, _Table(count, int(max_distance * count)))
        same = table.find(fingerprint, None if within_videos else video)
        if same is None:
            table.add(key, video, fingerprint)
        yield key, {"duplicate_of": same}


def _read(row: Row) -> tuple[int, int]:
    """All hashes of a clip as one number, and how many they are."""
    hashes = row.get("fingerprint")
    try:
        numbers = [int(each, 16) for each in hashes or ()]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(0 <= number < 1 << BITS for number in numbers):
        raise InputError(
            f"the fingerprint of {shown_path(row['key'])} is {shown(hashes)}; hashes of {BITS} bits in hexadecimal "
            "digits are accepted"
        )
    return sum(number << BITS * place for place, number in enumerate(numbers)), len(numbers)


class _Table:
    """The clips that are kept, by bands of their bits.

    Args:
        count: hashes of a clip.
        most: bits in which two clips that look the same may differ.
    """

    def __init__(self, count: int, most: int) -> None:
        self._most, self._clips = most, list[tuple[str, str | None, int]]()
        places = list(range(BITS * count))
        random.Random(0).shuffle(places)  # neighbouring frequencies, and frames, are alike: bands mix them
        bands = most + 1  # of so many, one at least has none of the bits that differ
        self._known: set[tuple[str | None, int]] = set()
        self._bands = [_mask_of(places[start::bands]) for start in range(bands)]
        self._found: list[dict[int, list[int]]] = [defaultdict(list) for _ in self._bands]

    def find(self, fingerprint: int, other_than: str | None) -> str | None:
        """The key of the first kept clip that looks the same, if there is one; of another video, if one is given."""
        near = {
            number
            for mask, table in zip(self._bands, self._found)
            for number in table.get(hash(fingerprint & mask), ())
        }
        for number in sorted(near):
            key, video, other = self._clips[number]
            if (other_than is None or video != other_than) and (fingerprint ^ other).bit_count() <= self._most:
                return key
        return None

    def add(self, key: str, video: str | None, fingerprint: int) -> None:
        if (video, fingerprint) in self._known:  # whatever looks like this one looks like the first such
            return
        self._known.add((video, fingerprint))
        for mask, table in zip(self._bands, self._found):
            # The hash of an int is its rest by a large prime: a smaller one, which nearly always differs.
            table[hash(fingerprint & mask)].append(len(self._clips))
        self._clips.append((key, video, fingerprint))


def _mask_of(places: list[int]) -> int:
    return sum(1 << place for place in places)
