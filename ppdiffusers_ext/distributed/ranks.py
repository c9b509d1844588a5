"""The processes ("ranks") of a launch divide independent calls among them, and each gets all results.

`python -m paddle.distributed.launch` starts the same command in several processes. Within `joined()` they are one
`Ranks`; without it, or without a launch, each process is alone and all is as ever. Tensors move by Paddle's own
collectives, with gloo on CPUs and NCCL on GPUs. Gloo in Paddle 3.3 has no all-to-all, so that is made of scatters.
"""

import atexit
import contextlib
import contextvars
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ppdiffusers_ext.distributed.line import Line, RankError
from ppdiffusers_ext.environment import of_launch
from ppdiffusers_ext.errors import InputError, one_line, shown

if TYPE_CHECKING:
    import paddle

__all__ = ["ALONE", "RankError", "Ranks", "current_ranks", "joined"]

NOT_CONNECTED = "cannot connect to the others"
_NEXT, _BEGIN = "the next results", "a beginning"  # where ranks meet
_GO_ON, _STOP = "go on", "stop"


class _Left(BaseException):
    """The first rank takes no more of a stream, so that what follows it here ends."""


class Ranks:
    """
    Args:
        line: of a process that is one of several; None for one that is alone.

    Attributes:
        rank, count: of this process, from 0, and how many there are.
        received: bytes of tensors that this process has got from others.
    """

    def __init__(self, line: Line | None = None) -> None:
        self._line = line
        self.rank, self.count = (0, 1) if line is None else (line.rank, line.count)
        self.received = 0
        self._is_streaming = False  # whether the others wait to be told how a stream goes on

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that reads and writes results, prints and asks."""
        return self.rank == 0

    def meet(self, what: str, value: Any = None) -> list[Any]:
        """See `Line.meet`; the value alone where there are no others."""
        return [value] if self._line is None else self._line.meet(what, value)

    def of_first(self, what: str, make: Callable[[], Any]) -> Any:
        """What `make()` returns in the first rank, where alone it is called; what JSON can write."""
        return self.meet(what, make() if self.is_first else None)[0]

    def owner(self, number: int) -> int:
        """The rank of a call, by its number in a list: in turn."""
        return number % self.count

    def divide(
        self,
        calls: Sequence[Callable[[], "paddle.Tensor"]],
        owners: Sequence[int] | None = None,
        done: Callable[[int], object] = lambda number: None,
    ) -> "list[paddle.Tensor]":
        """The results of independent calls, each of which one rank computes; bits are the same on all.

        Args:
            calls: functions that return a tensor; the same list on all ranks.
            owners: rank of each; `owner` of its number if left out.
            done: called with the number of each call, when its result is there.

        Returns:
            The results, in order.

        Raises:
            RankError: a rank has ended.
        """
        owners = [self.owner(i) for i in range(len(calls))] if owners is None else owners
        results: dict[int, Any] = {}
        for i, call in enumerate(calls):
            if owners[i] == self.rank:
                results[i] = call()
                done(i)
        if self.count == 1:
            return list(results.values())
        forms = {str(i): [x.shape, str(x.dtype).removeprefix("paddle.")] for i, x in results.items()}
        known = {int(i): form for each in self.meet("results", forms) for i, form in each.items()}
        for i, (shape, dtype) in sorted(known.items()):
            results[i] = self._share(results.get(i), owners[i], shape, dtype)
            if owners[i] != self.rank:
                done(i)
        return [results[i] for i in range(len(calls))]

    def stream(self, calls: Sequence[Callable[[], "paddle.Tensor"]]) -> "Iterator[paddle.Tensor]":
        """As `divide`, one result after the other, within `lead`: memory holds as many as there are ranks."""
        if self.count == 1:
            return (call() for call in calls)
        starts = range(0, len(calls), self.count)
        return itertools.chain.from_iterable(
            self.paced(self.divide(calls[start : start + self.count]) for start in starts)
        )

    def paced(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, which all ranks make; where the first one takes no more of them, `follow` ends in the others."""
        if self.count == 1:
            yield from items
            return
        iterator = iter(items)
        try:
            while True:
                if self.meet(_NEXT, _GO_ON)[0] == _STOP:
                    raise _Left
                self._is_streaming = self.is_first
                try:
                    item = next(iterator)
                except StopIteration:
                    self._is_streaming = False
                    return
                yield item
        except GeneratorExit:
            self._stop_stream()
            raise

    def _stop_stream(self) -> None:
        if self._is_streaming:
            self._is_streaming = False
            self.meet(_NEXT, _STOP)

    def lead(self, work: Callable[[Callable[[], object]], Any], follow: Callable[[], object]) -> Any:
        """What `work` returns in the first rank; in the others None, which `follow` as often as it begins something.

        Args:
            work: called with a function that it calls each time before it begins what the others follow.
            follow: takes part in what was begun.
        """
        if self.count == 1:
            return work(lambda: None)
        if self.is_first:
            result = work(self._begin)
            self.meet(_BEGIN, _STOP)
            return result
        while self.meet(_BEGIN)[0] == _GO_ON:
            with contextlib.suppress(_Left):
                follow()
        return None

    def _begin(self) -> None:
        self._stop_stream()  # of an attempt that failed, which an exception may still hold
        self.meet(_BEGIN, _GO_ON)

    def exchange(
        self, pieces: "Sequence[paddle.Tensor]", shapes: Sequence[Sequence[int]], most: int
    ) -> "list[paddle.Tensor]":
        """All-to-all: one piece to each rank, and one from each.

        With gloo each rank scatters in turn: it has no all-to-all, and its sends and receives count all operations of
        a process, so that they find each other only where all ranks do the same. Pieces are filled up to one size.

        Args:
            pieces: for each rank, of one dtype.
            shapes: of what comes from each rank.
            most: numbers in the largest piece that any rank sends.

        Returns:
            What came, in order.
        """
        if self.count == 1:
            return [pieces[0]]
        import paddle
        from paddle import distributed

        dtype = pieces[0].dtype
        filled = [_filled(piece.flatten(), most) for piece in pieces]
        got = [paddle.empty([most], dtype=dtype) for _ in range(self.count)]
        if pieces[0].place.is_cpu_place():
            for rank in range(self.count):
                distributed.scatter(got[rank], filled if rank == self.rank else None, src=rank)
        else:
            distributed.alltoall(got, filled)
        self.received += sum(_bytes_of(x) for x in got) * (self.count - 1) // self.count
        return [x[: math.prod(shape)].reshape(list(shape)) for x, shape in zip(got, shapes)]

    def _share(self, tensor: Any, owner: int, shape: list[int], dtype: str) -> Any:
        import paddle
        from paddle import distributed

        tensor = paddle.empty(shape, dtype=getattr(paddle, dtype)) if tensor is None else tensor.contiguous()
        if tensor.size:
            distributed.broadcast(tensor, owner)
        self.received += _bytes_of(tensor) if owner != self.rank else 0
        return tensor


def _filled(x: Any, count: int) -> Any:
    """A tensor of one axis with zeros at its end, so that it has so many numbers."""
    import paddle

    return x if x.shape[0] == count else paddle.concat([x, paddle.zeros([count - x.shape[0]], x.dtype)])


def _bytes_of(tensor: Any) -> int:
    return int(tensor.size) * int(tensor.element_size())


ALONE = Ranks()
_times_joined = 0
_current: contextvars.ContextVar = contextvars.ContextVar("ranks", default=ALONE)


def current_ranks() -> Ranks:
    """The `Ranks` of the block that this is called in; `ALONE` outside of `joined`."""
    return _current.get()


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Within it the processes of a launch are one `Ranks`; a process that nobody launched with others stays alone.

    A rank that leaves it by an exception tells the others why, which end too.

    Raises:
        RankError: another rank has ended, or cannot be reached.
    """
    global _times_joined
    count = launched()
    if count == 1:
        yield ALONE
        return
    from paddle import distributed
    from paddle.base import core

    rank, host = _own_place(count)
    tell_no_flags()
    store = core.create_or_get_global_tcp_store()
    _arrive(store, rank, count)
    try:
        distributed.init_parallel_env()
    except RuntimeError as error:  # gloo gives up on a busy machine, once in a while
        raise RankError(
            f"rank {rank} of {count} {NOT_CONNECTED}: {one_line(str(error), 300)}; the same command again is accepted"
        ) from error
    _times_joined += 1
    line = Line(rank, count, host, store, _times_joined)
    token = _current.set(Ranks(line))
    try:
        yield current_ranks()
        line.meet("end")
        line.end()
    except KeyboardInterrupt as stop:
        # The launcher stops those whose neighbour has ended; that is the reason then, not the signal.
        try:
            line.check()
        except RankError as error:
            line.end(str(error))
            raise error from None
        line.end(f"stopped by {str(stop) or 'Ctrl-C'}")
        raise
    except BaseException as error:
        line.end(str(error) if isinstance(error, RankError | ValueError) else f"{type(error).__name__}: {error}")
        raise
    finally:
        _current.reset(token)


def _own_place(count: int) -> tuple[int, str]:
    """The number of this process among so many, and the host of the first one; both are in the environment.

    Raises InputError where they are not what a launcher says.
    """
    rank = of_launch("PADDLE_TRAINER_ID", count, 0)
    if rank >= count:
        raise InputError(
            f"PADDLE_TRAINERS_NUM of the environment is {count}, and PADDLE_TRAINER_ID is no number below it; one is "
            "accepted, as scripts.launch sets it, or neither: then one process works alone"
        )
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    host = endpoints[0].rpartition(":")[0]
    if len(endpoints) != count or not host:
        raise InputError(
            f"PADDLE_TRAINER_ENDPOINTS of the environment is {shown(','.join(endpoints))}; HOST:PORT of each of the "
            f"{count} processes is accepted, with commas between them, as scripts.launch sets it"
        )
    return rank, host


def _arrive(store: Any, rank: int, count: int) -> None:
    """Wait for all: gloo's patience with those who come later is short."""
    place = f"ppdiffusers_ext/arrived/{_times_joined}"
    store.set(f"{place}/{rank}", b"here")
    for each in range(count):
        store.get(f"{place}/{each}")


def tell_no_flags() -> None:
    """Keep Paddle from listing, when processes meet, the flags that it has set itself."""
    from paddle.distributed import parallel

    parallel._print_modified_flags = lambda flags: None


def launched() -> int:
    """How many processes the launcher has started, this one among them."""
    return of_launch("PADDLE_TRAINERS_NUM", 1)


def parts(count: int, among: int) -> list[tuple[int, int]]:
    """First and last (exclusive) of so many things, divided as evenly as possible among so many."""
    ends = [count * i // among for i in range(among + 1)]
    return list(itertools.pairwise(ends))


def leave(code: int) -> None:
    """End this process with an exit code if it has joined others; return if it is alone."""
    if _times_joined:
        end_process(code)


def end_process(code: int) -> NoReturn:
    """End this process, which is in a group of gloo's, without destroying that.

    Once in some thirty runs Paddle aborts (SIGABRT, without a word) while it destroys what gloo's groups consist of,
    and the launcher takes a process, of which all is written, for a failed one. So Python's part of the end is gone
    through, and the destructors are not.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
