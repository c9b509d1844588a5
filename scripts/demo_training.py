"""What the commands that train small models on drawn people share: drawn clips, times, and training that goes on."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import SEEDS, ExistingOptions, option, path_option

from .options import CommandOptions

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.training.sheets import Row

MOST_CLIPS = 10**6
SECONDS_BETWEEN_LINES = 10
BEGUN = "begun.json"  # in a work folder: its record says what all that is there is made of
IMAGE_ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 32,
    "image_size": 224,
}


class Clock:
    """Adds the seconds of a block to those of earlier runs, in a JSON file."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        times = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        times[self._name] = round(times.get(self._name, 0) + time.monotonic() - self._start)
        self._path.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class DemoTrainingOptions(CommandOptions, ExistingOptions):
    """Options of a command that trains a small model."""

    work: str = path_option(help="folder to work in", metavar="DIR")
    clips: int | None = option(None, help="number of clips that are drawn", unset="")
    seed: int = option(0, *SEEDS, help="random seed of the clips; -1 draws one")
    processes: int = option(2, 1, 2, help="number of processes of training")
    quick: bool = option(False, help="few clips and two steps, to see that all works")

    @property
    def folder(self) -> Path:
        return Path(self.work)

    @property
    def count(self) -> int:
        """The number of clips, once `set_up` has said it."""
        return self.clips or 0


def set_up(options: Any, usual: int, least: int) -> Any:
    """The options of a training with the seed and the number of clips that it gets; its log is set up."""
    from ppdiffusers_ext.options import choose_seed
    from ppdiffusers_ext.training.logs import quieten_libraries, set_up_loggers

    if not options.debug:
        quieten_libraries()
    set_up_loggers(options.debug)
    return replace(options, seed=choose_seed(options.seed), clips=number_of_clips(options, usual, least))


def number_of_clips(options: Any, usual: int, least: int) -> int:
    """How many clips are to be drawn: --clips, or else as many as usual, or as few as will do with --quick.

    Raises:
        InputError: they are too few.
    """
    from ppdiffusers_ext.errors import InputError

    count = (least if options.quick else usual) if options.clips is None else options.clips
    if not least <= count <= MOST_CLIPS:
        few = "few" if count < least else "many"
        raise InputError(f"--clips {count} is too {few}; {least} or more is accepted, up to {MOST_CLIPS}")
    return count


def hold_against_existing(options: DemoTrainingOptions, model: Path, made: "Made", names: Sequence[str]) -> "Results":
    """Refuse, clear or keep what is in a work folder, and what there is in the place of the model.

    Args:
        options: of the command.
        model: `Path` of the model's folder.
        made: the `Made` of all that is made.
        names: of all that the command makes in the work folder beside the model.

    Returns:
        `Results` of the model.

    Raises:
        ExistsError: something exists that is neither to be replaced, nor what would be made.
    """
    from ppdiffusers_ext.data.existing import ExistsError, check_existing
    from ppdiffusers_ext.data.outputs import output_file
    from ppdiffusers_ext.data.records import Records

    how = (options.overwrite, options.skip_existing)
    results = check_existing({model: made}, *how)
    begun = check_existing({options.folder / BEGUN: made}, *how)
    results.hold([options.folder / BEGUN])
    there = [options.folder / name for name in names if (options.folder / name).exists()]
    is_own = bool(there) and Records(options.folder).of(BEGUN) is None
    if is_own and not options.skip_existing:
        raise ExistsError(
            f"{there[0]} exists, without a record of what it was made of; another --work is accepted, and "
            "--skip-existing goes on with it"
        )
    if is_own:
        print(f"note: {there[0]} has no record of what it was made of, and is gone on with as it is", file=sys.stderr)
    if options.overwrite:
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if begun.missing and results.missing and not is_own:
        with begun.recorded(), output_file(options.folder / BEGUN) as temporary:
            temporary.write_text(json.dumps(made.options, indent=1) + "\n", encoding="utf-8")
    return results


def made_of(command: str, options: DemoTrainingOptions, *paths: Path) -> "Made":
    """The `Made` of a small model: of the files that training reads, and of what is to be drawn and trained."""
    from ppdiffusers_ext.data.records import Made, digest

    names = ("clips", "seed", "processes", "quick")
    given = {f"--{name}": getattr(options, name) for name in names}
    return Made(command, {str(path): digest(path) for path in paths}, given)


def progress(items: Any, what: str, total: int | None = None) -> Iterator[Any]:
    """The items one by one, while a bar in a terminal, or else a line for each tenth of them, says how far it is.

    Args:
        items: iterable.
        what: words for what is done with them: "drawing clips".
        total: their number, where they have none themselves.
    """
    from tqdm import tqdm

    total = len(items) if total is None else total
    if sys.stderr.isatty():
        yield from tqdm(items, what, total)
        return
    print(f"{what}: {total:,}", file=sys.stderr, flush=True)
    start = told_at = time.monotonic()
    told = 0
    for done, item in enumerate(items, 1):
        yield item
        tenth, now = 10 * done // total, time.monotonic()
        if tenth > told and now > told_at + SECONDS_BETWEEN_LINES:
            told, told_at = tenth, now
            left = timedelta(seconds=round((now - start) / done * (total - done)))
            print(f"{what}: {done:,} of {total:,}, {left} left", file=sys.stderr, flush=True)


def draw(write: Callable[..., object], folder: Path, seed: int, count: int, *options: Any, **named: Any) -> None:
    """Have `write` (as `data.synthetic.write_clips`) draw `count` clips into a folder, by all cores."""
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = [pool.submit(write, folder, seed, [number], *options, **named) for number in range(count)]
        for done in progress(as_completed(drawn), "drawing clips", count):
            done.result()


def write_image_encoder(folder: Path, seed: int, channels: int) -> None:
    """A CLIP image encoder with random weights: the small models make do with what these keep of a picture.

    channels: of the embedding.
    """
    import paddle
    from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from ppdiffusers_ext.data.outputs import output_folder

    if folder.exists():
        return
    paddle.seed(seed)
    with output_folder(folder) as temporary:
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER, projection_dim=channels))
        encoder.save_pretrained(str(temporary), safe_serialization=True)


def read_settings(path: Path, configured: str, folder: Path) -> dict[str, Any]:
    """The settings of a training as YAML file, with another work folder than the one that they name."""
    from ppdiffusers_ext.files import read_yaml

    settings = read_yaml(path, "training configuration")
    return settings | moved(settings, configured, folder)


def moved(settings: dict[str, Any], configured: str, folder: Path) -> dict[str, str]:
    """Those settings that name what is in the `configured` folder, for another folder in its place."""
    return {
        key: str(folder) + value.removeprefix(configured)
        for key, value in settings.items()
        if isinstance(value, str) and value.startswith(configured)
    }


def train(script: str, name: str, settings: dict[str, Any], folder: Path, processes: int) -> None:
    """Run a training command in processes of its own.

    Args:
        script: name of the command.
        name: of its settings and logs in the folder.
        settings: dict, for two processes; one process takes batches that are twice as large.
        folder: `Path`.
        processes: 1 or 2.

    Raises:
        InputError: it fails.
    """
    command = [sys.executable, "-u", "-m"]
    if processes == 1:
        settings = {**settings, "per_device_train_batch_size": 2 * settings["per_device_train_batch_size"]}
        command += [f"{__package__}.{script}"]
    else:
        logs = str(folder / "logs" / name)
        command += [f"{__package__}.launch", "--nproc_per_node", "2", "--log_dir", logs, script]
    file = _write_settings(name, settings, folder)
    print(f"{script} {file}: {counted(settings['max_steps'], 'step')}", file=sys.stderr, flush=True)
    _run(script, [*command, str(file)])


def keep_latents(name: str, settings: dict[str, Any], folder: Path) -> None:
    """Keep what the frozen networks of a training make of its clips, in its settings' `latent_cache`.

    Args:
        name, settings, folder: see `train`.

    Raises:
        InputError: it fails.
    """
    file = _write_settings(name, settings, folder)
    print(f"cache_latents {file}", file=sys.stderr, flush=True)
    _run("cache_latents", [sys.executable, "-u", "-m", f"{__package__}.cache_latents", str(file)])


def _write_settings(name: str, settings: dict[str, Any], folder: Path) -> Path:
    import yaml

    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return file


def _run(script: str, command: list[str]) -> None:
    from ppdiffusers_ext.errors import InputError

    finished = subprocess.run(command)
    if finished.returncode:
        raise InputError(f"{script} ended with exit code {finished.returncode}; its messages are above")


def rows_of_trainings(folder: Path, names: Iterable[str]) -> str:
    """Rows of a table: each training's steps, samples of a step, and minutes so far, as its files in a folder say."""
    import yaml

    times, rows = json.loads((folder / "times.json").read_text(encoding="utf-8")), []
    for name in names:
        settings = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        processes = 2 if (folder / "logs" / name).exists() else 1
        samples = settings["per_device_train_batch_size"] * processes
        rows.append(f"| {name} | {settings['max_steps']} of {samples} | {times[name] / 60:.0f} |")
    return "\n".join(rows)


def sheet_row(name: str, reference: "np.ndarray", kinds: "dict[str, np.ndarray]", count: int = 3) -> "Row":
    """A row of a `labelled_sheet`: a clip's reference, then some of its frames, each in several kinds.

    Args:
        name: of the clip.
        reference: (H, W, 3) uint8.
        kinds: frames by what they are: "pose", "truth", "model"; each (n, H, W, 3) uint8.
        count: how many frames, from the first to the last one.
    """
    import numpy as np

    chosen = np.linspace(0, len(next(iter(kinds.values()))) - 1, count).astype(int)
    cells = [(f"{kind} {frame}", frames[frame]) for frame in chosen for kind, frames in kinds.items()]
    return name, [("reference", reference), *cells]
