"""Outputs are held by the process that makes them: a second run is refused, and a hold ends with its process."""

import os
import resource
import signal
import time

import pytest

from ppdiffusers_ext.data import holding
from ppdiffusers_ext.data.existing import HeldError, check_existing, hold_outputs
from ppdiffusers_ext.data.outputs import moved_by, output_file, output_folder
from ppdiffusers_ext.data.records import Made
from tests.support.holder import Holder

MADE = Made("draw")
FRAMES = r"frame_\d+\.png"


@pytest.fixture(scope="module")
def other():
    made = Holder()
    yield made
    made.end()


def hold(*paths, pattern=None, **how):
    return check_existing(dict.fromkeys(paths, MADE), pattern=pattern, **how)


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"skip_existing": True}])
@pytest.mark.parametrize("exists", [False, True])
def test_output_that_another_run_makes_is_refused_with_its_process(tmp_path, other, how, exists):
    target = tmp_path / "out.mp4"
    if exists:
        target.write_text("earlier")
    other.hold(target)
    words = f"--output {target} is being written by process {other.number}; another output is accepted"
    with moved_by(given=[("--output", str(target))]), pytest.raises(HeldError, match=words):
        hold(target, **how)
    assert target.exists() == exists


@pytest.mark.parametrize(
    ("theirs", "ours", "is_refused"),
    [
        (["a.mp4"], ["b.mp4"], False),
        (["a.mp4", "a_sheet.png"], ["b.mp4", "a_sheet.png"], True),
        (["new/a.mp4"], ["new/a.mp4"], True),
        (["new/a.mp4"], ["new/b.mp4"], False),
        (["x/model"], ["x/../x/model"], True),
        ([f"{i}.mp4" for i in range(2000)], ["1999.mp4"], True),
        (["1999.mp4"], [f"{i}.mp4" for i in range(2000)], True),
        (["linked/a.mp4"], ["real/a.mp4"], True),
    ],
)
def test_what_is_held_are_names_wherever_links_lead(tmp_path, other, theirs, ours, is_refused):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    other.hold(*(tmp_path / name for name in theirs))
    if is_refused:
        with pytest.raises(HeldError, match="is being written by"):
            hold(*(tmp_path / name for name in ours))
    else:
        hold(*(tmp_path / name for name in ours))


def test_sequence_holds_its_folder(tmp_path, other):
    other.hold(tmp_path / "frame_0.png", pattern=FRAMES)
    with pytest.raises(HeldError, match=f"{tmp_path} is being written by process {other.number}; "):
        hold(*(tmp_path / f"frame_{i}.png" for i in range(5, 8)), pattern=FRAMES)


def test_other_run_is_refused_while_this_one_writes_and_until_it_is_done(tmp_path):
    one, two = Holder(), Holder()
    try:
        one.hold(tmp_path / "a.mp4")
        two.hold(tmp_path / "b.mp4")  # which leaves the lock file of both as it is
        two.hold(tmp_path / "c.mp4")
        with pytest.raises(HeldError, match=str(one.number)):
            hold(tmp_path / "a.mp4")
    finally:
        one.end()
        two.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_hold_ends_with_its_process_and_its_traces_never_block(tmp_path, number):
    process = Holder()
    process.hold(tmp_path / "model", tmp_path / "out.mp4")
    process.hold(tmp_path / "model" / "frame_0.png", pattern=FRAMES)
    process.end(number)
    assert (tmp_path / "model" / holding.LOCK).exists()  # nobody was there to remove it
    results = hold(tmp_path / "model", tmp_path / "out.mp4")
    assert results.kept == 0
    with results.recorded(), output_folder(tmp_path / "model") as temporary:
        (temporary / "a.txt").write_text("made")
    del results
    assert not list(tmp_path.rglob(holding.LOCK))


def test_nothing_is_left_of_a_hold(tmp_path):
    results = hold(tmp_path / "new" / "deep" / "out.mp4")
    assert (tmp_path / "new" / "deep" / holding.LOCK).exists()
    del results
    assert os.listdir(tmp_path) == []
    results = hold(tmp_path / "new" / "out.mp4")
    with output_file(tmp_path / "new" / "out.mp4") as path:
        path.write_text("made")
    del results
    assert os.listdir(tmp_path / "new") == ["out.mp4"]


def test_process_may_hold_an_output_again_and_keeps_it_until_the_last_is_gone(tmp_path):
    first, again = hold_outputs([tmp_path / "a.mp4", tmp_path / "b.mp4"]), hold_outputs([tmp_path / "a.mp4"])
    whole = hold_outputs([tmp_path / "frame_0.png"], is_sequence=True)
    assert held_names(tmp_path) == {"a", "b", "c"}
    for released, names in ((whole, "ab"), (first, "a"), (again, "")):
        released.release()
        assert held_names(tmp_path) == set(names)


def held_names(folder):
    """Those of a.mp4, b.mp4 and c.mp4 that a fork, which holds nothing, cannot have."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        held = []
        for name in "abc":
            try:
                hold_outputs([folder / f"{name}.mp4"])
            except HeldError:
                held.append(name)
        os.write(writing, "".join(held).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as file:
        return set(file.read())


def test_folder_in_which_nothing_can_be_locked_is_passed_over(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(holding.fcntl, "lockf", refuse)
    hold(tmp_path / "out.mp4")
    (tmp_path / holding.LOCK).mkdir()
    hold(tmp_path / "out.mp4")


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), os.mkfifo])
def test_what_somebody_else_has_under_the_name_of_the_lock_stays(tmp_path, make):
    make(tmp_path / holding.LOCK)
    hold_outputs([tmp_path / "out.mp4"]).release()
    holding.remove_stale(tmp_path)
    assert (tmp_path / holding.LOCK).exists()


def test_many_folders_leave_files_to_be_opened(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        held = hold_outputs(tmp_path / str(number) / "out.mp4" for number in range(300))
        with open(os.devnull):
            assert len(list(tmp_path.rglob(holding.LOCK))) > 50
        held.release()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert os.listdir(tmp_path) == []


def test_runs_that_come_and_go_never_have_an_output_together(tmp_path):
    """Eight processes hold one output again and again: whoever has it writes, waits, and finds its own words."""
    children = []
    until = time.monotonic() + 1.0
    for number in range(8):
        child = os.fork()
        if child == 0:
            os._exit(_take_turns(tmp_path, str(number), until))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sum(codes) > 0  # some had it
    assert 255 not in codes
    assert os.listdir(tmp_path) == ["words"]


def _take_turns(folder, words, until):
    turns = 0
    while time.monotonic() < until:
        try:
            held = hold_outputs([folder / "out.mp4"])
        except HeldError:
            continue
        (folder / "words").write_text(words)
        time.sleep(0.001)
        if (folder / "words").read_text() != words:
            return 255
        held.release()
        turns += 1
    return min(turns, 200)


def test_holds_that_begin_within_a_command_end_with_it(tmp_path):
    """An error that is kept, with the frames that raised it, would hold them until the memory is cleaned up."""
    kept = []
    with holding.releasing():
        kept.append(hold_outputs([tmp_path / "a.mp4"]))
        assert held_names(tmp_path) == {"a"}
    assert held_names(tmp_path) == set() and os.listdir(tmp_path) == []
