"""Which clips are in which batch of a training run.

A batch holds clips of one kind and shape. Clips wait in a queue for each of these until a batch is full, and go on
waiting from one epoch to the next, so that none is left out. As the samplers of aigc-apps/EasyAnimate
(`easyanimate/data/bucket_sampler.py`) do, but for that any batch of a run is known from its number, without those
before it: a run that goes on, and one of several processes, reads what an undivided one does.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np


def fill_queues(keys: Iterable[Hashable], batch_size: int) -> Iterator[tuple[int, list[int]]]:
    """Batches of numbers of items with like keys, in the order in which they are complete.

    Args:
        keys: of items in the order in which they come.
        batch_size: items of a batch; those of incomplete ones are left out.

    Yields:
        the number of the item that makes a batch complete, and the numbers of the batch.
    """
    queues: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        queue = queues.setdefault(key, [])
        queue.append(number)
        if len(queue) == batch_size:
            yield number, queues.pop(key)


class BatchPlan:
    """The batches of an endless run over items, of which each epoch has every one once, in a random order.

    Args:
        keys: of the items; those of a batch have the same.
        batch_size: items of a batch.
        seed: of the orders.
    """

    def __init__(self, keys: Sequence[Hashable], batch_size: int, seed: int) -> None:
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        labels = np.array([numbers[key] for key in keys], np.int32)
        self._labels, self._batch_size, self._seed = np.sort(labels), batch_size, seed
        self._counts = np.bincount(labels).astype(np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._members = np.argsort(labels, kind="stable")
        self._completions = lru_cache(2)(self._completed_in)
        self._order = lru_cache(2 * len(self._counts))(self._order_of)

    def batch(self, number: int) -> np.ndarray:
        """The numbers of the items of a batch: (batch_size,) int64."""
        label, place = self._find(number)
        places = np.arange(place * self._batch_size, (place + 1) * self._batch_size)
        epochs, offsets = np.divmod(places, self._counts[label])
        return np.array([self._order(int(epoch), label)[offset] for epoch, offset in zip(epochs, offsets)])

    def alike(self, number: int) -> np.ndarray:
        """The numbers of all items with the key of a batch, increasing."""
        return self._with_label(self._find(number)[0])

    def _with_label(self, label: int) -> np.ndarray:
        return self._members[self._starts[label] : self._starts[label] + self._counts[label]]

    def _find(self, number: int) -> tuple[int, int]:
        """The key of a batch, as its number, and how many batches of that key come before it."""
        low, high = 0, 1  # epochs at whose end too few batches are complete, and enough
        while self._complete_after(high) <= number:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._complete_after(middle) <= number else (low, middle)
        labels, places = self._completions(low)
        index = number - self._complete_after(low)
        return int(labels[index]), int(places[index])

    def _complete_after(self, epochs: int) -> int:
        """Batches that are complete after so many epochs."""
        return int((self._counts * epochs // self._batch_size).sum())

    def _completed_in(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each batch that an epoch completes, in order, its key and the number of batches of that key before it."""
        shuffled = self._labels[np.random.default_rng([self._seed, epoch]).permutation(len(self._labels))]
        by_label = np.argsort(shuffled, kind="stable")
        ranks = np.empty(len(shuffled), np.int64)
        ranks[by_label] = np.arange(len(shuffled)) - np.repeat(self._starts, self._counts)
        places, rest = np.divmod(ranks + epoch * self._counts[shuffled], self._batch_size)
        complete = rest == self._batch_size - 1
        return shuffled[complete], places[complete]

    def _order_of(self, epoch: int, label: int) -> np.ndarray:
        """The numbers of a key's items in the order of an epoch."""
        return np.random.default_rng([self._seed, epoch, label]).permutation(self._with_label(label))
