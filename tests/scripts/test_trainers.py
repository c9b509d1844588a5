"""The training commands, run for real on tiny data: both stages, several processes, going on, and bad input."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.run_options import TRAINED
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array
from scripts.training import main

ROOT = Path(__file__).parents[2]
PARTS = {1: ("reference_unet", "denoising_unet", "pose_guider"), 2: ("motion_module",)}
COMMON = {
    "base_model_path": "assets/demo_model",
    "vae_model_path": "assets/demo_model/vae",
    "image_encoder_path": "assets/demo_model/image_encoder",
    "inference_config_path": "configs/inference/demo_model.yaml",
    "train_width": 72,
    "train_height": 80,
    "sample_margin": 4,
    "n_sample_frames": 3,
    "sample_rate": 2,
    "do_train": True,
    "max_steps": 4,
    "save_steps": 2,
    "save_strategy": "steps",
    "per_device_train_batch_size": 1,
    "learning_rate": 1.0e-4,
    "logging_steps": 1,
    "lr_scheduler_type": "constant",
    "seed": 42,
    "device": "cpu",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four clips of drawn people."""
    folder = tmp_path_factory.mktemp("data")
    for index in range(4):
        clip = synthetic_clip(index, 12, 80, 88)
        for kind, frames in (("video", clip.target), ("video_dwpose", clip.pose)):
            (folder / kind).mkdir(exist_ok=True)
            with VideoWriter(folder / kind / f"{index}.mp4", clip.fps, 80, 88) as writer:
                writer.write(frames)
    return folder


def command(stage, folder, options, processes=1):
    """The command line of a run whose YAML file is written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.yaml").write_text(yaml.safe_dump(options))
    launch = ["-m", "scripts.launch", "--nproc_per_node", str(processes), "--log_dir", str(folder / "logs")]
    launch = launch if processes > 1 else []
    return [sys.executable, "-u", *launch, f"scripts/trainer_stage{stage}.py", str(folder / "training.yaml")]


def options_of(folder, data, options):
    """Those of a run whose output is in `folder / "out"`."""
    return {**COMMON, "meta_paths": str(data), "output_dir": str(folder / "out"), **options}


def train(stage, folder, data, processes=1, code=0, **options):
    """Run a stage as a user does; returns what it printed."""
    words = command(stage, folder, options_of(folder, data, options), processes)
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    printed = run.stdout + run.stderr
    assert run.returncode == code, printed[-3000:] + ends_of_logs(folder)
    return printed


def train_here(stage, folder, data, **options):
    """Run a stage in this process, without the imports of another, whose bits may differ; returns what it printed."""
    *_, path = command(stage, folder, options_of(folder, data, options))
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(f"stage{stage}", [path])
    printed = out.getvalue() + err.getvalue()
    assert code == 0, printed[-3000:]
    return printed


def ends_of_logs(folder):
    """The last lines of the processes of a launch, of which it prints those of the first alone."""
    paths = sorted((folder / "logs").glob("workerlog.*"))
    return "".join(f"\n{path.name}:\n{path.read_text()[-3000:]}" for path in paths)


def losses(printed):
    """The losses of a run's steps, as its log gives them, each step once."""
    found = {}
    for line in printed.splitlines():
        if match := re.match(r"step (\d+)/\d+: loss ([^,]+),", line):
            found[int(match[1])] = float(match[2])
    return [found[step] for step in sorted(found)]


def assert_equal(folder, other, stage):
    for part in PARTS[stage]:
        tensors, expected = (load_tensors(path / "out" / f"{part}.safetensors") for path in (folder, other))
        assert set(tensors) == set(expected)
        different = [name for name in tensors if not np.array_equal(*map(to_array, (tensors[name], expected[name])))]
        assert different == []


@pytest.fixture(scope="module")
def stage_1(tmp_path_factory, data):
    """(folder, printed) of a run of stage 1 of four steps."""
    folder = tmp_path_factory.mktemp("stage_1")
    return folder, train(1, folder, data)


@pytest.fixture(scope="module")
def stage_2(tmp_path_factory, data, stage_1):
    """(folder, printed) of a run of stage 2 that starts from it."""
    folder, out = tmp_path_factory.mktemp("stage_2"), stage_1[0] / "out"
    return folder, train(2, folder, data, **start_of_stage_2(out))


def start_of_stage_2(out):
    return {
        "denoising_unet_base_model_path": str(out / "denoising_unet.safetensors"),
        "reference_unet_path": str(out / "reference_unet.safetensors"),
        "pose_guider_path": str(out / "pose_guider.safetensors"),
    }


def go_on(folder, earlier, step=2):
    """A run that was stopped after a step: the folder with that checkpoint alone."""
    (folder / "out").mkdir(parents=True)
    shutil.copytree(checkpoints.folder_of(earlier / "out", step), checkpoints.folder_of(folder / "out", step))


def test_stage_1_trains_and_saves_what_it_trained(stage_1):
    folder, printed = stage_1
    assert len(losses(printed)) == 4
    assert all(0 < loss < 100 for loss in losses(printed))
    assert checkpoints.steps_of(folder / "out") == [4, 2]
    assert [checkpoints.problem_of(checkpoints.folder_of(folder / "out", step)) for step in (2, 4)] == [None, None]
    last = checkpoints.folder_of(folder / "out", 4)
    for part in PARTS[1]:
        assert (folder / "out" / f"{part}.safetensors").read_bytes() == (last / f"{part}.safetensors").read_bytes()
    states = [load_tensors(checkpoints.folder_of(folder / "out", step) / "pose_guider.safetensors") for step in (2, 4)]
    assert all(not np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_log_has_what_a_person_needs(stage_1):
    folder, printed = stage_1
    lines = printed.splitlines()
    assert len(lines) <= 12  # 193 of paddlenlp's for six steps
    assert not any("DEBUG" in line or "\x1b" in line or "\r" in line or "Warning" in line for line in lines)
    assert re.fullmatch(
        r"training [\d,]+ parameters on 4 clips, 0 samples held out: 4 steps of 1 sample, .*", lines[0]
    )
    step = r"step 1/4: loss [\d.]+, learning rate 0.0001, [\d.]+ samples/s, \d:\d\d:\d\d left, .*"
    assert re.fullmatch(step, lines[2])
    assert f"step 2/4: wrote {checkpoints.folder_of(folder / 'out', 2)}" in lines
    assert str(folder / "out") in lines[-1]


def test_curves_are_where_the_log_says(stage_1):
    folder, printed = stage_1
    (told,) = re.findall(r"curves: visualdl --logdir (.+)", printed)
    records = list(Path(told).rglob("vdlrecords.*.log"))
    assert {path.parent.name for path in records} == {"train", "validation"}
    assert told == str(folder / "out" / "runs")


def test_stopped_run_goes_on_to_the_same_bits(tmp_path, data, stage_1):
    go_on(tmp_path, stage_1[0])
    printed = train(1, tmp_path, data)
    assert "the run goes on from" in printed
    assert losses(printed) == losses(stage_1[1])[2:]
    assert_equal(tmp_path, stage_1[0], 1)


def test_stage_2_starts_from_stage_1_and_trains_motion_alone(stage_2):
    folder, printed = stage_2
    assert len(losses(printed)) == 4
    names = set(load_tensors(folder / "out" / "motion_module.safetensors"))
    assert names
    assert all("motion_modules." in name for name in names)
    assert [path.name for path in (folder / "out").glob("*.safetensors")] == ["motion_module.safetensors"]


def test_stopped_stage_2_goes_on_to_the_same_bits(tmp_path, data, stage_1, stage_2):
    go_on(tmp_path, stage_2[0])
    train(2, tmp_path, data, **start_of_stage_2(stage_1[0] / "out"))
    assert_equal(tmp_path, stage_2[0], 2)


@pytest.mark.long
def test_two_sharded_processes_do_what_one_does_and_go_on_to_the_same_bits(tmp_path, data):
    """Of a batch of two on one process, of two micro-steps, and of two processes with a shard each; then one."""
    # Every step conditional: one without leaves the reference UNet without gradients, which AdamW passes over, but
    # which Paddle's sharding hands it as zeros, so that its bias correction is a step ahead.
    always = {"uncond_ratio": 0.0}
    one = losses(train_here(1, tmp_path / "one", data, per_device_train_batch_size=2, **always))
    parts = losses(train_here(1, tmp_path / "parts", data, gradient_accumulation_steps=2, **always))
    printed = train(1, tmp_path / "two", data, processes=2, sharding="stage1", **always)
    assert "FLAGS" not in printed and "ClipGrad" not in printed and "warning" not in printed.lower()
    two = losses(printed)
    np.testing.assert_allclose(parts, one, rtol=1e-4)
    np.testing.assert_allclose(two, one, rtol=1e-4)
    go_on(tmp_path / "again", tmp_path / "two")
    train(1, tmp_path / "again", data, processes=2, sharding="stage1", **always)
    assert_equal(tmp_path / "again", tmp_path / "two", 1)
    go_on(tmp_path / "alone", tmp_path / "two")
    alone = losses(train_here(1, tmp_path / "alone", data, gradient_accumulation_steps=2, **always))
    np.testing.assert_allclose(alone, two[2:], rtol=1e-4)


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_half_precision_becomes_bf16_on_a_cpu_with_a_notice(tmp_path, data, stage_1, level):
    printed = train_here(1, tmp_path, data, fp16=True, fp16_opt_level=level, max_steps=2, save_strategy="no")
    assert "bf16 is used instead" in printed
    # Where the processor has no bf16 arithmetic, Paddle computes in fp32 as before.
    np.testing.assert_allclose(losses(printed), losses(stage_1[1])[:2], rtol=0.05)


@pytest.mark.long
def test_worker_processes_read_the_same(tmp_path, data, stage_1):
    train(1, tmp_path, data, dataloader_num_workers=2)
    assert_equal(tmp_path, stage_1[0], 1)


def test_kept_latents_train_as_the_videos_do_in_two_processes_and_one(tmp_path, data):
    options = {"crop_ratio_min": 1.0, "per_device_train_batch_size": 2}
    expected = losses(train_here(1, tmp_path / "videos", data, **options))
    options["latent_cache"] = str(tmp_path / "latents")
    two = train(1, tmp_path / "two", data, processes=2, **{**options, "per_device_train_batch_size": 1})
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").rglob("*.safetensors")}
    assert len(kept) == 4
    one = losses(train_here(1, tmp_path / "one", data, **options))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").rglob("*.safetensors")} == kept
    assert one == pytest.approx(expected, rel=1e-4)
    assert losses(two)[-1] == pytest.approx(expected[-1], rel=1e-3)


def test_what_was_trained_animates(tmp_path, data, stage_1, stage_2):
    first, second = stage_1[0] / "out", stage_2[0] / "out"
    configuration = {
        "pretrained_base_model_path": "assets/demo_model",
        "pretrained_vae_path": "assets/demo_model/vae",
        "image_encoder_path": "assets/demo_model/image_encoder",
        "denoising_unet_path": str(first / "denoising_unet.safetensors"),
        "reference_unet_path": str(first / "reference_unet.safetensors"),
        "pose_guider_path": str(first / "pose_guider.safetensors"),
        "motion_module_path": str(second / "motion_module.safetensors"),
        "inference_config": "configs/inference/demo_model.yaml",
        "test_cases": {"assets/reference.png": [str(data / "video_dwpose" / "0.mp4")]},
        **{"width": 64, "height": 72, "length": 3, "steps": 1, "output": str(tmp_path / "out.mp4")},
    }
    (tmp_path / "animation.yaml").write_text(yaml.safe_dump(configuration))
    arguments = [sys.executable, "-m", "scripts.pose2vid", "--config", str(tmp_path / "animation.yaml")]
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert probe_video(tmp_path / "out.mp4").num_frames == 3


@pytest.mark.parametrize("stage", [1, 2])
def test_checkpoints_and_output_folder_are_folders_of_the_pipeline(stage, stage_1, stage_2, tmp_path):
    out = {1: stage_1, 2: stage_2}[stage][0] / "out"
    shutil.copytree(checkpoints.folder_of(out, 2), tmp_path / "moved")
    folders = {"moved": tmp_path / "moved", "last": checkpoints.folder_of(out, 4), "end": out}
    networks = {1: PARTS[1], 2: ("denoising_unet",)}[stage]
    weights = {}
    for kind, folder in folders.items():
        pipeline = DiffusionPipeline.from_pretrained(str(folder), device="cpu")
        assert type(pipeline) is Pose2VideoPipeline
        states = {name: getattr(pipeline, name).state_dict() for name in ("reference_unet", *networks)}
        weights[kind] = {
            (name, key): to_array(value) for name, state in states.items() for key, value in state.items()
        }
        for part in PARTS[stage]:
            network = "denoising_unet" if part == "motion_module" else part
            for key, tensor in load_tensors(folder / f"{part}.safetensors").items():
                assert np.array_equal(to_array(tensor), weights[kind][network, key]), (kind, part, key)
    assert all(np.array_equal(weights["end"][key], weights["last"][key]) for key in weights["end"])
    assert any(not np.array_equal(weights["end"][key], weights["moved"][key]) for key in weights["end"])
    if stage == 2:  # what it left as it was is that of stage 1
        for key, tensor in load_tensors(stage_1[0] / "out" / "reference_unet.safetensors").items():
            assert np.array_equal(to_array(tensor), weights["moved"]["reference_unet", key]), key


def test_options_of_weights_take_a_checkpoint_of_each_stage(stage_1, stage_2):
    first, second = (checkpoints.folder_of(stage[0] / "out", 4) for stage in (stage_1, stage_2))
    expected = Pose2VideoPipeline.from_pretrained(second, device="cpu").denoising_unet.state_dict()
    paths = {f"{name}_path": str(first) for name in PARTS[1]} | {"motion_module_path": str(second)}
    options = Pose2VidConfig.load("configs/inference/demo.yaml", **paths)
    networks = Pose2VideoPipeline.from_options(options, device="cpu")
    state = networks.denoising_unet.state_dict()
    assert all(np.array_equal(to_array(state[name]), to_array(expected[name])) for name in expected)
    guider, file = networks.pose_guider.state_dict(), load_tensors(first / "pose_guider.safetensors")
    assert all(np.array_equal(to_array(guider[name]), to_array(file[name])) for name in file)


@pytest.mark.parametrize("key", ["pretrained_vae_path", "denoising_unet_path", "motion_module_path"])
def test_checkpoint_that_lacks_a_frozen_part_says_which(key, stage_2, tmp_path):
    folder = tmp_path / "checkpoint-4"
    shutil.copytree(checkpoints.folder_of(stage_2[0] / "out", 4), folder)
    options = yaml.safe_load((folder / TRAINED).read_text())
    (folder / TRAINED).write_text(yaml.safe_dump({**options, key: str(tmp_path / "gone")}))
    with pytest.raises(MissingFileError, match=rf"{key} .*gone does not exist; .*{TRAINED} names them"):
        Pose2VideoPipeline.from_pretrained(folder)
    if key == "pretrained_vae_path":
        return
    config = Pose2VidConfig.load("configs/inference/demo.yaml", **{key: str(folder)})
    with pytest.raises(MissingFileError, match=rf"{key} .*gone does not exist; .*{TRAINED} names it"):
        Pose2VideoPipeline.from_options(config)


@pytest.mark.long
def test_run_that_stops_after_a_step_without_reference_goes_on_to_the_same_bits(tmp_path, data):
    """Such a step gives the reference UNet no gradients, and the optimiser nothing to remember of it."""
    options = {"uncond_ratio": 0.7, "save_steps": 1, "max_steps": 3}
    printed = train_here(1, tmp_path / "whole", data, **options)
    sizes = [
        (checkpoints.folder_of(tmp_path / "whole" / "out", step) / "optimizer.pdopt").stat().st_size for step in (1, 3)
    ]
    assert sizes[0] == sizes[1]
    go_on(tmp_path / "again", tmp_path / "whole", step=1)
    assert losses(train_here(1, tmp_path / "again", data, **options)) == losses(printed)[1:]
    assert_equal(tmp_path / "again", tmp_path / "whole", 1)


def test_killed_run_leaves_a_valid_checkpoint_and_goes_on(tmp_path, data, stage_1):
    options = options_of(tmp_path, data, {"save_steps": 1})
    process = subprocess.Popen(
        command(1, tmp_path, options), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not checkpoints.steps_of(tmp_path / "out") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoints.newest_valid(tmp_path / "out") is not None
    printed = train(1, tmp_path, data, save_steps=1)
    assert "the run goes on from" in printed
    assert_equal(tmp_path, stage_1[0], 1)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc to find the workers in")
def test_killed_worker_ends_the_launch_and_leaves_a_valid_checkpoint(tmp_path, data):
    options = {**COMMON, "meta_paths": str(data), "output_dir": str(tmp_path / "out"), "sharding": "stage1"}
    options |= {"max_steps": 1000, "save_steps": 1, "save_total_limit": 2}
    with open(tmp_path / "printed", "w") as printed:
        launch = subprocess.Popen(
            command(1, tmp_path, options, processes=2), cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT
        )
    workers = []
    try:
        wait_for(lambda: checkpoints.steps_of(tmp_path / "out") or launch.poll() is not None, 120)
        assert launch.poll() is None, (tmp_path / "printed").read_text()[-3000:] + ends_of_logs(tmp_path)
        workers = [int(pid) for pid in Path(f"/proc/{launch.pid}/task/{launch.pid}/children").read_text().split()]
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        assert launch.wait(timeout=120) == 1
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    finally:
        for pid in (launch.pid, *workers):
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        launch.wait()
    assert "Container failed" in (tmp_path / "printed").read_text()
    assert checkpoints.newest_valid(tmp_path / "out") is not None


@pytest.mark.long
def test_damaged_checkpoint_is_passed_over(tmp_path, data, stage_1):
    shutil.copytree(stage_1[0] / "out", tmp_path / "out")
    path = checkpoints.folder_of(tmp_path / "out", 4) / "denoising_unet.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    printed = train(1, tmp_path, data)
    assert "checkpoint-4 is passed over: denoising_unet.safetensors has" in printed
    assert "checkpoint-2" in printed.split("the run goes on from")[1].splitlines()[0]
    assert_equal(tmp_path, stage_1[0], 1)


# Bad input


@pytest.fixture
def refuse(tmp_path, data, monkeypatch, capsys):
    """Run a stage in this process, which is quicker, and give the line that it refuses its options with."""
    monkeypatch.chdir(ROOT)

    def run(stage=1, **options):
        values = {**COMMON, "meta_paths": str(data), "output_dir": str(tmp_path / "out"), **options}
        (tmp_path / "training.yaml").write_text(yaml.safe_dump(values))
        assert main(f"stage{stage}", [str(tmp_path / "training.yaml")]) == 2
        (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
        return line

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_paths": "nowhere.json"}, "training data nowhere.json do not exist"),
        ({"train_width": 70}, "--train_width 70 cannot be trained on; a multiple of 8"),
        ({"n_sample_frames": 0}, "--n_sample_frames 0 is too small"),
        ({"max_steps": 0}, "--max_steps 0 is too small"),
        ({"sharding": "stage1"}, "--sharding stage1 has nothing to share among one process"),
        (
            {"latent_cache": str(Path(__file__))},
            "test_trainers.py is no folder; a folder to keep latents in is accepted",
        ),
        ({"motion_module_path": "a.safetensors"}, "--motion_module_path is for stage 2"),
        ({"place_weight": -1}, "--place_weight -1"),
        ({"place_weight": 1, "gradient_checkpointing": True}, "--place_weight and --gradient_checkpointing do not go"),
        ({"reference_unet_path": "nowhere.safetensors"}, "--reference_unet_path nowhere.safetensors does not exist"),
        ({"do_train": False}, "nothing is to be done"),
        ({"train_widht": 64}, "unknown keys in"),
        ({"output_dir": str(Path(__file__) / "out")}, "test_trainers.py' is a file; a folder that can be written is"),
        ({"resume_from_checkpoint": "nowhere"}, "--resume_from_checkpoint nowhere cannot be used"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_told_in_one_line(tmp_path, refuse, options, message):
    assert message in refuse(**options)
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") in ([], ["runs"])


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        (1, {"seed": 7}, "seed was 42, is 7"),
        (1, {"gradient_accumulation_steps": 2}, "samples_per_step was 1, is 2"),
        (1, {"train_width": 80}, "width was 72, is 80"),
        (2, {}, "stage was 1, is 2"),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path, refuse, stage_1, stage, options, message):
    go_on(tmp_path, stage_1[0])
    said = refuse(stage, **options)
    assert message in said
    assert "another --output_dir, is accepted" in said


def test_launch_of_several_processes_fails_with_the_reason(tmp_path, data):
    printed = train(1, tmp_path, data, processes=2, code=2, meta_paths="nowhere.json")
    (line,) = printed.splitlines()
    assert line.startswith("error: training data nowhere.json do not exist")
    assert "Traceback" not in printed + ends_of_logs(tmp_path)
