"""A list with a job of each command, done by small models: the same bits whoever does them."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdiffusers_ext.batch.job_list import read_job_list
from ppdiffusers_ext.batch.manifest import Manifest
from ppdiffusers_ext.batch.run import Batch
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.workers.local import LocalEngine
from scripts import batch_jobs
from tests.scripts.test_stable_animator import folder as stable
from tests.scripts.test_stable_animator import pipeline
from tests.support.easy_folders import write_easy
from tests.support.people import painted, write_networks

__all__ = ["pipeline", "stable"]  # fixtures
ROOT = Path(__file__).parents[2]
OUTPUTS = ("animate.mp4", "pose2vid.mp4", "stable", "t2v.mp4", "i2v.mp4", "v2v.mp4")


@pytest.fixture(scope="module")
def models(stable):
    """The folder of the small StableAnimator, with EasyAnimate's v4, DWPose, pictures and videos."""
    write_easy(stable / "v4", "v4")
    write_networks(stable / "DWPose")
    write_image(stable / "person.png", painted((96, 64), (12, 12, 52, 84)))
    write_image(stable / "start.png", np.full((48, 64, 3), 90, np.uint8))
    with VideoWriter(stable / "dance.mp4", 25, 64, 96, crf=4) as writer:
        for place in range(3):
            writer.write(painted((96, 64), (6 + 2 * place, 20, 30 + 2 * place, 60)))
    with VideoWriter(stable / "video.mp4", 24, 64, 48) as writer:
        writer.write(np.stack([np.full((48, 64, 3), 10 * i, np.uint8) for i in range(8)]))
    easy = {"model": str(stable / "v4"), "width": 64, "height": 48, "frames": 8, "steps": 1, "device": "cpu"}
    (stable / "v4.yaml").write_text(yaml.safe_dump(easy))
    return stable


def write_list(models, folder):
    """The list of jobs, one of each command, whose outputs are in a folder."""
    folder.mkdir(exist_ok=True)
    demo, easy = str(ROOT / "configs/inference/demo.yaml"), str(models / "v4.yaml")
    small = {"num_inference_steps": 1, "width": 64, "height": 64}
    weights = {name: str(models / f"{name}.safetensors") for name in ("unet", "pose_net", "face_encoder")}
    assets = ROOT / "assets"
    jobs = [
        {"command": "animate", "config": demo, "reference_image": str(models / "person.png"),
         "driving_video": str(models / "dance.mp4"), "dwpose": str(models / "DWPose"), "frames": "0:2", **small},
        {"command": "pose2vid", "config": demo, "reference_image": str(assets / "reference.png"),
         "pose_video": str(assets / "pose.mp4"), "num_frames": 2, **small},
        {"command": "stable_animator", "svd": str(models / "svd"), **weights, "faces": str(models),
         "reference_image": str(models / "me.png"), "pose_video": str(models / "poses"), "seed": 3, **small},
        {"command": "predict_t2v", "config": easy, "prompt": "A dog", "seed": 4},
        {"command": "predict_i2v", "config": easy, "prompt": "A dog", "start_image": str(models / "start.png")},
        {"command": "predict_v2v", "config": easy, "prompt": "A dog", "steps": 2,
         "video": str(models / "video.mp4")},
    ]  # fmt: skip
    for job, output in zip(jobs, OUTPUTS, strict=True):
        job["output"] = str(folder / output)
    (folder / "jobs.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    return read_job_list(folder / "jobs.yaml", tuple(batch_jobs.COMMANDS))


def done(models, folder, engine):
    """Name -> content of all files that the jobs of a list have made."""
    jobs = write_list(models, folder)
    for job in jobs:
        batch_jobs.check_job(job)
    manifest = Manifest(folder / "manifest.jsonl")
    manifest.begin([(job.output, job.digest) for job in jobs])
    with contextlib.closing(engine), contextlib.closing(manifest):
        Batch(jobs, manifest, batch_jobs.inputs_of, 3).run(engine, batch_jobs.CommandWork(str(ROOT)), lambda *_: None)
    assert [(entry.state, entry.reason) for entry in manifest.entries.values()] == [("made", "")] * len(jobs)
    stages = {stage for entry in manifest.entries.values() for stage in entry.stages}
    assert stages == {"loading", "poses", "denoising", "decoding"}
    kinds = (".mp4", ".png")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in kinds}


def test_each_command_is_done(models, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    made = done(models, tmp_path, LocalEngine(0))
    assert {name for name in made if "/" not in name} >= {name for name in OUTPUTS if "." in name}
    assert any(name.startswith("stable/") for name in made)


@pytest.mark.long
def test_results_have_the_same_bits_on_one_worker_on_two_and_on_ray(models, tmp_path):
    from ppdiffusers_ext.workers.ray_engine import RayEngine

    one = done(models, tmp_path / "one", LocalEngine(1, threads=1))
    assert done(models, tmp_path / "two", LocalEngine(2, threads=1)) == one
    assert done(models, tmp_path / "ray", RayEngine(2)) == one
