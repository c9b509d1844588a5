"""What tests of measures share: a measure of frames that lie in memory."""

from pathlib import Path

from ppdiffusers_ext.data.chain.steps import ClipFacts, Place


def measured(measure, frames, fps=24.0):
    """The columns of a measure of frames, given to it as `chain.look` does."""
    height, width = frames[0].shape[:2]
    facts = ClipFacts(len(frames), float(fps), width, height)
    chosen = list(measure.choose(facts))
    assert chosen == sorted(set(chosen)) and 0 <= chosen[0] <= chosen[-1] < len(frames)
    measure.open(Place(Path("in"), Path("out")))
    watcher = measure.watch({"key": "a.mp4"}, facts)
    for index in chosen:
        frame = frames[index].copy()
        frame.flags.writeable = False
        watcher.see(index, frame)
    return watcher.columns()
