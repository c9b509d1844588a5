"""What the commands that train small models on drawn people share: drawn clips, times, and training that goes on."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

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

    def __init__(self, path, name):
        self._path, self._name = path, name

    def __enter__(self):
        self._start = time.monotonic()

    def __exit__(self, *exception):
        times = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        times[self._name] = round(times.get(self._name, 0) + time.monotonic() - self._start)
        self._path.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


def draw(write, folder, seed, count, *options):
    """Have `write` (as `data.synthetic.write_clips`) draw `count` clips into a folder, by all cores."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        shares = [range(start, count, workers) for start in range(workers)]
        for done in [pool.submit(write, folder, seed, share, *options) for share in shares]:
            done.result()


def write_image_encoder(folder, seed, channels):
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


def read_settings(path, configured, folder):
    """The settings of a training as YAML file, with another work folder than the one that they name."""
    import yaml

    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        if isinstance(value, str) and value.startswith(configured):
            settings[key] = str(folder) + value.removeprefix(configured)
    return settings


def train(script, name, settings, folder, processes):
    """Run a training command in processes of its own.

    Args:
        script: in scripts, without ending.
        name: of its settings and logs in the folder.
        settings: dict, for two processes; one process takes batches that are twice as large.
        folder: `Path`.
        processes: 1 or 2.

    Raises:
        InputError: it fails.
    """
    import yaml

    from ppdiffusers_ext.errors import InputError

    command = [sys.executable, "-u"]
    if processes == 1:
        settings = {**settings, "per_device_train_batch_size": 2 * settings["per_device_train_batch_size"]}
    else:
        launch = ["--nproc_per_node", "2", "--backend", "gloo", "--log_dir", str(folder / "logs" / name)]
        command += ["-m", "paddle.distributed.launch", *launch]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    print(f"training {name}: {settings['max_steps']} steps", flush=True)
    finished = subprocess.run([*command, f"scripts/{script}.py", str(file)])
    if finished.returncode:
        raise InputError(f"{script} ended with exit code {finished.returncode}; its messages are above")


def rows_of_trainings(folder, names):
    """Rows of a table: each training's steps, samples of a step, and minutes so far, as its files in a folder say."""
    import yaml

    times, rows = json.loads((folder / "times.json").read_text(encoding="utf-8")), []
    for name in names:
        settings = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        processes = 2 if (folder / "logs" / name).exists() else 1
        samples = settings["per_device_train_batch_size"] * processes
        rows.append(f"| {name} | {settings['max_steps']} of {samples} | {times[name] / 60:.0f} |")
    return "\n".join(rows)
