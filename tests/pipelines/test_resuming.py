"""The state of a run: kept when it is time, gone on with, and never used when it is damaged or of another run."""

import json
import os
import time
from pathlib import Path

import paddle
import pytest

from ppdiffusers_ext.data.records import Made, digest_of
from ppdiffusers_ext.pipelines import resuming
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.resuming import RunState, current_state
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.state_folder import StateFolder

STEPS = 5
MADE = Made("test", {"--image": "0123"}, {"--seed": 3})


@pytest.fixture(autouse=True)
def keep_every_state(monkeypatch):
    monkeypatch.setattr(resuming, "INTERVAL", 0.0)
    monkeypatch.setattr(resuming, "SHARE", 0)


class Denoising:
    """Makes a video in two parts with a scheduler that draws noise; may be stopped after some steps.

    Attributes:
        calls: steps that were taken.
        history: what they collected.
    """

    def __init__(self, target, made=MADE, stop=None, **options):
        self.target, self.made, self.stop, self.options = target, made, stop, options
        self.calls, self.history = 0, []

    def run(self):
        generator = as_generator(11)
        with RunState(self.target, self.made, generator=generator, num_parts=2, **self.options) as state:
            state.collect("history", self.history)
            return [state.part(self.part) for _ in range(2)]

    def part(self):
        scheduler = make_scheduler("EulerAncestralDiscreteScheduler")
        scheduler.set_timesteps(STEPS)
        latents = paddle.randn([1, 4, 3, 2, 2])
        state = current_state()
        done, latents = state.begin(scheduler, latents, STEPS)
        for step in range(done, STEPS):
            if self.calls == self.stop:
                raise KeyboardInterrupt
            self.calls += 1
            timestep = scheduler.timesteps[step]
            scaled = scheduler.scale_model_input(latents, timestep)
            latents = scheduler.step(scaled.tanh(), timestep, latents).prev_sample.astype("float32")
            self.history.append({"step": step, "loss": float(latents.mean())})
            state.after_step(latents, step + 1, STEPS)
        return latents


def same(first, second):
    return all(bool((one == other).all()) for one, other in zip(first, second))


def stopped(target, stop=7):
    denoising = Denoising(target, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        denoising.run()
    return StateFolder(target).path


@pytest.mark.parametrize("stop", range(1, 2 * STEPS))
def test_run_goes_on_after_each_step_and_the_state_goes_with_success(tmp_path, stop):
    whole = Denoising(tmp_path / "whole.mp4")
    expected = whole.run()
    stopped(tmp_path / "a.mp4", stop)
    again = Denoising(tmp_path / "a.mp4")
    assert same(again.run(), expected)
    assert again.calls == 2 * STEPS - stop and again.history == whole.history
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["write", "write_index", "clear_unnamed"])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_run_that_is_stopped_while_it_keeps_its_state_goes_on(tmp_path, monkeypatch, place, count):
    expected = Denoising(tmp_path / "whole.mp4").run()
    original, calls = getattr(StateFolder, place), []

    def stopping(self, *arguments):
        calls.append(place)
        if len(calls) == count:
            (self.path / "half.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, place, stopping)
        with pytest.raises(KeyboardInterrupt):
            Denoising(tmp_path / "a.mp4").run()
    again = Denoising(tmp_path / "a.mp4")
    assert same(again.run(), expected)
    assert again.calls < 2 * STEPS or count == 1
    assert os.listdir(tmp_path) == []


def test_disk_holds_each_finished_part_and_one_step(tmp_path):
    folder = stopped(tmp_path / "a.mp4", 8)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "part_0000.safetensors",
        "step_0001_0003.safetensors",
    ]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def edit(change):
    def write(path):
        index = json.loads((path.parent / "index.json").read_text())["state"]
        change(index)
        (path.parent / "index.json").write_text(json.dumps({"state": index, "sha256": digest_of(index)}))

    return write


def replace_by_link(path):
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def flip_number(path):
    index = path.parent / "index.json"
    text = index.read_text()
    assert '"_step_index": 3' in text
    index.write_text(text.replace('"_step_index": 3', '"_step_index": 2'))


DAMAGES = {
    "another number": flip_number,
    "cut tensors": truncate,
    "another bit": flip,
    "no tensors": Path.unlink,
    "a link": replace_by_link,
    "a pipe": replace_by_pipe,
    "cut index": lambda path: truncate(path.parent / "index.json"),
    "no index": lambda path: (path.parent / "index.json").unlink(),
    "an index of pickles": lambda path: (path.parent / "index.json").write_bytes(b"\x80\x04cos\nsystem\n."),
    "a list": lambda path: (path.parent / "index.json").write_text("[]"),
    "another format": edit(lambda index: index.update(format=2)),
    "a name elsewhere": edit(lambda index: index["part"].update(file="../../out.mp4")),
    "more steps": edit(lambda index: index["part"].update(num_steps=4)),
    "a step that is none": edit(lambda index: index["part"].update(step=STEPS)),
    "no scheduler": edit(lambda index: index["part"].update(scheduler=[])),
    "numbers of nothing": edit(lambda index: index["part"].update(random=[[], []])),
    "tensors that are not there": edit(lambda index: index["part"].update(scheduler={"betas": {"tensor": "x"}})),
    "parts that are none": edit(lambda index: index.update(parts=[{}])),
    "a collection of nothing": edit(lambda index: index["part"].update(collected={"dict": {"other": []}})),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_state_is_told_and_not_used(tmp_path, caplog, damage):
    expected = Denoising(tmp_path / "whole.mp4").run()
    folder = stopped(tmp_path / "a.mp4", 3)
    caplog.clear()
    damage(next(folder.glob("step_*.safetensors")))
    again = Denoising(tmp_path / "a.mp4")
    assert same(again.run(), expected)
    assert again.calls == 2 * STEPS
    assert f"{folder} is damaged and not used" in caplog.text and "an earlier run has kept" not in caplog.text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, replace_by_link, replace_by_pipe])
@pytest.mark.parametrize(("file", "calls"), [("part_0000", 2 * STEPS), ("step_0001_0002", STEPS)])
def test_run_goes_on_after_the_last_part_that_is_whole(tmp_path, caplog, damage, file, calls):
    expected = Denoising(tmp_path / "whole.mp4").run()
    folder = stopped(tmp_path / "a.mp4", 7)
    damage(folder / f"{file}.safetensors")
    again = Denoising(tmp_path / "a.mp4")
    assert same(again.run(), expected)
    assert again.calls == calls and "is damaged and not used" in caplog.text


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Made("other", MADE.inputs, MADE.options), "it was made by test"),
        (Made("test", {"--image": "4567"}, MADE.options), "--image has another content"),
        (Made("test", {}, MADE.options), "--image has another content"),
        (Made("test", MADE.inputs, {"--seed": 4}), "--seed was 3 and is 4"),
        (Made("test", MADE.inputs, {"--seed": 3, "--width": 8}), "--width was None and is 8"),
        (None, "it is not asked for"),
    ],
)
def test_state_of_another_run_is_told_and_not_used(tmp_path, caplog, made, words):
    folder = stopped(tmp_path / "a.mp4")
    again = Denoising(tmp_path / "a.mp4", made)
    again.run()
    assert again.calls == 2 * STEPS
    assert f"discarded the state of an earlier run in {folder}: {words}" in caplog.text
    assert os.listdir(tmp_path) == []


def test_state_of_another_number_of_parts_version_or_device_is_not_used(tmp_path, caplog, monkeypatch):
    stopped(tmp_path / "a.mp4")
    monkeypatch.setattr(resuming, "__version__", "9.9")
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:7")
    with RunState(tmp_path / "a.mp4", MADE, num_parts=3):
        pass
    for words in ("version was", "device was 'cpu' and is 'gpu:7'", "number of parts was 2 and is 3"):
        assert words in caplog.text


def test_state_that_another_run_holds_is_left_alone(tmp_path, caplog):
    folder = stopped(tmp_path / "a.mp4")
    other = StateFolder(tmp_path / "a.mp4")
    assert other.claim()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = Denoising(tmp_path / "a.mp4")
    again.run()
    assert again.calls == 2 * STEPS and "another run keeps its state" in caplog.text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other.release()


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("elsewhere"), os.mkfifo])
def test_run_goes_on_where_the_folder_cannot_be_used(tmp_path, caplog, make):
    (tmp_path / "elsewhere").mkdir()
    make(StateFolder(tmp_path / "a.mp4").path)
    again = Denoising(tmp_path / "a.mp4")
    again.run()
    assert "cannot be used" in caplog.text and "no state is kept" in caplog.text
    assert os.listdir(tmp_path / "elsewhere") == []


def test_full_disk_ends_the_keeping_and_not_the_run(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateFolder, "write", full)
    assert len(Denoising(tmp_path / "a.mp4").run()) == 2
    assert caplog.text.count("the run goes on, but its state cannot be kept any more") == 1


def test_state_is_kept_each_interval_and_takes_a_bounded_share_of_the_time(tmp_path, monkeypatch):
    now, writes, original = [1000.0], [], StateFolder.write_index

    def slow(self, index):
        now[0] += 3.0
        writes.append(now[0])
        original(self, index)

    monkeypatch.setattr(resuming, "INTERVAL", 10.0)
    monkeypatch.setattr(resuming, "SHARE", 50)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(StateFolder, "write_index", slow)
    with RunState(tmp_path / "a.mp4", MADE) as state:
        latents, scheduler = paddle.zeros([1, 4, 1, 2, 2]), make_scheduler("DDIM")
        state.begin(scheduler, latents, 10_000)
        for step in range(1, 1000):
            now[0] += 1.0
            state.after_step(latents, step, 10_000)
    assert writes[0] == 1013.0  # after ten seconds, in three
    assert all(later - earlier == 153.0 for earlier, later in zip(writes, writes[1:]))


def test_name_of_the_folder_fits_long_names(tmp_path):
    target = tmp_path / f"{'x' * 250}.mp4"
    stopped(target)
    assert len(os.fsencode(StateFolder(target).path.name)) <= 255
    assert Denoising(target).run()
