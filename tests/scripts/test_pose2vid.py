"""The command, as a user meets it: what it writes, and what it answers to bad input."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import paddle
import PIL.Image
import pytest
import yaml

from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.pose_file import pose_file
from ppdiffusers_ext.weights import load_tensors
from scripts.command import run
from scripts.pose2vid import make_parser, work
from tests.support.people import person

ROOT = Path(__file__).parents[2]
DEMO = yaml.safe_load((ROOT / "configs/inference/demo.yaml").read_text())
SMALL = {"width": 64, "height": 64, "num_frames": 3, "num_inference_steps": 1, "guidance_scale": 3.5}


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def inputs(tmp_path):
    """A folder with a picture and a pose video of 5 frames at 12.5 frames per second."""
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (90, 70, 3), dtype=np.uint8)).save(tmp_path / "person.png")
    with VideoWriter(tmp_path / "pose.mp4", 12.5, 64, 64) as writer:
        writer.write(rng.integers(0, 255, (5, 64, 64, 3), dtype=np.uint8))
    return tmp_path


@pytest.fixture
def configure(inputs):
    """Write the demo's configuration with changes, and give the command's arguments for it."""

    def write(**changes):
        values = {**DEMO, **SMALL, "test_cases": {}, "output": str(inputs / "out"), **changes}
        values = {key: value for key, value in values.items() if value is not None}
        (inputs / "config.yaml").write_text(yaml.safe_dump(values))
        return ["--config", str(inputs / "config.yaml")]

    return write


@pytest.fixture
def case(inputs):
    return ["--reference-image", str(inputs / "person.png"), "--pose-video", str(inputs / "pose.mp4")]


@pytest.fixture
def refuse(capsys, inputs):
    """Run the command; it must exit with 2, say one `error:` line with these words, and write nothing."""

    def check(arguments, *words):
        before = sorted(inputs.rglob("*"))
        try:
            code = run(make_parser(), work, arguments)
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert code == 2
        assert len(errors) == 1, printed.err
        assert "Traceback" not in printed.err
        for word in words:
            assert word in errors[0]
        assert sorted(inputs.rglob("*")) == before
        return errors[0]

    return check


def test_writes_video_side_by_side_and_contact_sheet(configure, case, inputs, capsys):
    assert run(make_parser(), work, configure() + case) == 0
    printed = capsys.readouterr()
    video = inputs / "out" / "person_pose_64x64_3.5.mp4"
    assert str(video) in printed.out and "seed 42" in printed.err
    info = probe_video(video)
    assert (info.width, info.height, info.num_frames, float(info.fps)) == (64, 64, 3, 12.5)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    wide = probe_video(inputs / "out" / "person_pose_64x64_3.5_side_by_side.mp4")
    assert (wide.width, wide.height, wide.num_frames) == (192, 64, 3)
    assert PIL.Image.open(inputs / "out" / "person_pose_64x64_3.5_sheet.png").size == (192, 64)
    assert np.std(list(read_frames(video))) > 1


def test_side_by_side_shows_reference_pose_and_result_in_this_order(configure, inputs):
    PIL.Image.new("RGB", (64, 64), (255, 0, 0)).save(inputs / "red.png")
    with VideoWriter(inputs / "blue.mp4", 10, 64, 64) as writer:
        writer.write(np.full((3, 64, 64, 3), (0, 0, 255), dtype=np.uint8))
    case = ["--reference-image", str(inputs / "red.png"), "--pose-video", str(inputs / "blue.mp4")]
    assert run(make_parser(), work, configure() + case) == 0
    row = next(read_frames(inputs / "out" / "red_blue_64x64_3.5_side_by_side.mp4")).astype(int)
    assert np.abs(row[8:56, 8:56].mean((0, 1)) - (255, 0, 0)).max() < 8
    assert np.abs(row[8:56, 72:120].mean((0, 1)) - (0, 0, 255)).max() < 8


@pytest.mark.parametrize("suffix", [".mov", ".webm", ".gif"])
def test_a_result_of_another_format(configure, case, inputs, suffix):
    target = inputs / f"a{suffix}"
    assert run(make_parser(), work, [*configure(), *case, "--output", str(target)]) == 0
    info = probe_video(target)
    assert (info.width, info.height, info.num_frames, float(info.fps)) == (64, 64, 3, 12.5)
    assert probe_video(inputs / "a_side_by_side.mp4").num_frames == 3


def test_a_gif_of_too_many_frames_a_second_is_refused(configure, case, inputs, refuse):
    refuse([*configure(), *case, "--fps", "60", "--output", str(inputs / "a.gif")], "a.gif with 60 fps; up to 50 fps")


def test_files_are_opened_and_networks_described_once(configure, inputs, opened):
    videos = [str(inputs / "dance.mp4"), "assets/pose.mp4"]
    os.rename(inputs / "pose.mp4", inputs / "dance.mp4")
    assert run(make_parser(), work, configure(test_cases={str(inputs / "person.png"): videos}, num_frames=1)) == 0
    assert opened.pop("parts") == 5
    assert opened == dict.fromkeys([str(inputs / "person.png"), *videos], 1)


def test_a_pose_picture_gives_a_picture(configure, inputs):
    case = ["--reference-image", str(inputs / "person.png"), "--pose-video", str(inputs / "person.png")]
    assert run(make_parser(), work, configure() + case + ["--output", str(inputs / "one.png")]) == 0
    assert PIL.Image.open(inputs / "one.png").size == (64, 64)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(configure, case, inputs):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = [*configure(), *case, "--seed", str(seed), "--output", str(inputs / f"{name}.mp4")]
        assert run(make_parser(), work, arguments) == 0
    a, b, c = ((inputs / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b != c


def test_fps_option_replaces_the_source_rate(configure, case, inputs):
    assert run(make_parser(), work, [*configure(), *case, "--fps", "30", "--output", str(inputs / "a.mp4")]) == 0
    assert probe_video(inputs / "a.mp4").fps == 30


def test_length_beyond_the_video_and_uneven_sizes_are_used_with_a_notice(configure, case, inputs, capsys):
    arguments = [*configure(), *case, "-L", "9", "-W", "75", "--output", str(inputs / "a.mp4")]
    assert run(make_parser(), work, arguments) == 0
    notes = capsys.readouterr().err
    assert "note: width 75 is rounded down to 72" in notes
    assert "has 5 frames, less than the 9 asked for" in notes
    assert (probe_video(inputs / "a.mp4").num_frames, probe_video(inputs / "a.mp4").width) == (5, 72)


def frames_of(path):
    return np.stack(list(read_frames(path))).astype(int)


@pytest.mark.parametrize(
    ("of_file", "options", "count"),
    [(None, [], 5), (None, ["-L", "4"], 4), (4, [], 4), (4, ["-L", "5"], 5), (4, ["-L", "5000"], 5)],
)
def test_all_frames_are_animated_or_a_note_says_how_many(configure, case, inputs, capsys, of_file, options, count):
    arguments = [*configure(num_frames=of_file), *case, *options, "--output", str(inputs / "a.mp4")]
    assert run(make_parser(), work, arguments) == 0
    assert probe_video(inputs / "a.mp4").num_frames == count
    assert (f"of the 5 of {inputs / 'pose.mp4'} will be animated" in capsys.readouterr().err) == (count < 5)


def test_pictures_and_poses_of_another_shape_are_told_of_and_get_it_as_asked(configure, case, inputs, capsys):
    made = {}
    for way in ("fit", "crop", "pad"):
        target = inputs / f"{way}.mp4"
        arguments = [*configure(num_frames=2, width=128), *case, "--resize", way, "--output", str(target)]
        assert run(make_parser(), work, arguments) == 0
        told, done = (
            capsys.readouterr().err,
            {"fit": "stretched", "crop": "cropped", "pad": "put between borders"}[way],
        )
        for name, size in (("person.png", "70x90"), ("pose.mp4", "64x64")):
            assert f"{inputs / name} is {size}, of another shape than 128x64, and is {done}" in told
        made[way] = frames_of(target)
        row = frames_of(inputs / f"{way}_side_by_side.mp4")[0]
        borders = [row[:, start : start + 16].max() for start in (0, 128)]  # of the picture, and of the pose
        assert all((border < 40) == (way == "pad") for border in borders)
    assert all(np.abs(made["fit"] - made[way]).max() > 1 for way in ("crop", "pad"))


def test_pictures_of_the_right_shape_are_not_told_of(configure, inputs, capsys):
    case = ["--reference-image", str(inputs / "square.png"), "--pose-video", str(inputs / "pose.mp4")]
    PIL.Image.new("RGB", (200, 201)).save(inputs / "square.png")
    assert run(make_parser(), work, [*configure(num_frames=1), *case]) == 0
    assert "shape" not in capsys.readouterr().err


def test_seed_that_is_drawn_is_told_and_makes_the_same_again(configure, case, inputs, capsys):
    for name, seed in (("a", "-1"), ("b", "-1")):
        assert run(make_parser(), work, [*configure(), *case, "--seed", seed, "--output", f"{inputs / name}.mp4"]) == 0
    first, second = re.findall(r"seed (\d+) was drawn", capsys.readouterr().err)
    assert first != second
    assert run(make_parser(), work, [*configure(), *case, "--seed", first, "--output", f"{inputs / 'c'}.mp4"]) == 0
    a, b, c = ((inputs / f"{name}_sheet.png").read_bytes() for name in "abc")
    assert a == c != b


def test_fp16_on_a_cpu_is_answered_with_a_notice_and_bf16(configure, case, capsys):
    assert run(make_parser(), work, [*configure(), *case, "--dtype", "fp16", "--device", "cpu"]) == 0
    notes = capsys.readouterr().err
    assert "bf16 weights are used instead of fp16" in notes and "in bfloat16" in notes


def test_test_cases_of_the_file_are_animated_one_by_one(configure, inputs):
    cases = {str(inputs / "person.png"): [str(inputs / "pose.mp4"), "assets/pose.mp4"]}
    assert run(make_parser(), work, configure(test_cases=cases, num_frames=2)) == 2  # both would be called person_pose
    os.rename(inputs / "pose.mp4", inputs / "dance_kps.mp4")
    cases = {str(inputs / "person.png"): [str(inputs / "dance_kps.mp4"), "assets/pose.mp4"]}
    assert run(make_parser(), work, configure(test_cases=cases, num_frames=2)) == 0
    names = {path.name for path in (inputs / "out").glob("*3.5.mp4")}
    assert names == {"person_dance_64x64_3.5.mp4", "person_pose_64x64_3.5.mp4"}


@pytest.mark.parametrize("options", [["--scheduler", "DPM-Solver++"], ["--sequential-guidance"], ["--cfg", "1"],
                                     ["--context-frames", "2", "--context-overlap", "1"],
                                     ["--guidance-interval", "0", "0.5"],
                                     ["--step-cache-interval", "2", "--step-cache-depth", "2"]])  # fmt: skip
def test_sampling_options_run_to_a_video(configure, case, inputs, options):
    assert run(make_parser(), work, [*configure(), *case, *options, "--output", str(inputs / "a.mp4")]) == 0
    assert probe_video(inputs / "a.mp4").num_frames == 3


def test_engine_runs_to_a_video_and_keeps_its_export(configure, case, inputs):
    options = ["--engine", "onnx", "--engine-cache", str(inputs / "cache"), "--output", str(inputs / "a.mp4")]
    assert run(make_parser(), work, [*configure(), *case, *options]) == 0
    assert probe_video(inputs / "a.mp4").num_frames == 3
    manifests = [json.loads(path.read_text()) for path in inputs.glob("cache/exports/*/manifest.json")]
    networks = {manifest["key"]["function"].partition(".")[0] for manifest in manifests}
    assert networks == {
        "AutoencoderKL", "CLIPVisionModelWithProjection", "DenoisingUNet3D", "PoseGuider", "ReferenceUNet"
    }  # fmt: skip


# Pictures that are unusual but can be used.
def _unusual(picture):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return {
        "alpha.png": (picture.convert("RGBA"), {}),
        "grey.png": (picture.convert("L"), {}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "rotated.jpg": (picture, {"exif": exif}),
    }


@pytest.mark.parametrize("name", ["alpha.png", "grey.png", "cmyk.jpg", "rotated.jpg"])
def test_unusual_pictures_are_animated(configure, inputs, name):
    picture, options = _unusual(PIL.Image.open(inputs / "person.png"))[name]
    picture.save(inputs / name, **options)
    case = ["--reference-image", str(inputs / name), "--pose-video", str(inputs / "pose.mp4")]
    assert run(make_parser(), work, [*configure(num_frames=1), *case]) == 0


# Bad options.
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], ["steps is 0", "1 to 1000"]),
        (["--steps", "2000"], ["steps is 2000", "1 to 1000"]),
        (["--seed", "-2"], ["seed is -2", "0 to 9223372036854775807, or -1"]),
        (["--seed", "1e23"], ["--seed", "'1e23'"]),
        (["--fps", "1e-9"], ["fps is 1e-09", "0.1 to 240"]),
        (["--scheduler", "LCM", "--steps", "999"], ["LCMScheduler cannot take 999 steps"]),
        (["--scheduler", "PNDM", "--steps", "2"], ["PNDMScheduler cannot take 2 steps"]),
        (["-W", "0"], ["-W is 0", "64 to 8192"]),
        (["-H", "-64"], ["-H is -64", "64 to 8192"]),
        (["-W", "63"], ["-W is 63", "64 to 8192"]),
        (["-W", "wide"], ["-W", "'wide'"]),
        (["-L", "0"], ["-L is 0"]),
        (["--fps", "0"], ["fps is 0"]),
        (["--cfg", "nan"], ["cfg is nan"]),
        (["--dtype", "fp61"], ["'fp61'", "fp32, fp16 or bf16"]),
        (["--device", "tpu"], ["'tpu'", "cpu"]),
        (["--scheduler", "Eulr"], ["'Eulr'", "EulerDiscreteScheduler"]),
        (["--context-schedule", "unifrom"], ["'unifrom'", "uniform"]),
        (["--context-frames", "2", "--context-overlap", "2"], ["context_overlap is 2", "below context_frames, 2"]),
        (["--guidance-interval", "0.8", "0.2"], ["interval of [0.8, 0.2]", "0 to 1"]),
        (["--guidance-interval", "0"], ["--guidance-interval"]),
        (["--step-cache-interval", "0"], ["--step-cache-interval is 0", "1 to 1000"]),
        (["--engine", "openvimo"], ["'openvimo'", "eager, inference, onnx or openvino"]),
        (["--engine", "onnx", "--dtype", "bf16"], ["engine onnx", "fp32"]),
        (["-W", "8192", "-H", "8192"], ["memory high takes about", "no rung of --memory fits"]),
        (["--bogus"], ["--bogus"]),
    ],
)
def test_bad_options_are_refused(configure, case, refuse, options, words):
    refuse([*configure(), *case, *options], *words)


def test_a_picture_without_a_pose_video_is_refused(configure, case, refuse):
    refuse([*configure(), *case[:2]], "--pose-video")


def test_nothing_to_animate_is_refused(configure, refuse):
    refuse(configure(), "nothing to animate", "--reference-image")


def test_a_window_longer_than_the_position_table_is_refused_before_plans_and_seeds(configure, inputs, capsys):
    with VideoWriter(inputs / "long.mp4", 10, 64, 64) as writer:
        writer.write(np.zeros((40, 64, 64, 3), dtype=np.uint8))
    case = ["--reference-image", str(inputs / "person.png"), "--pose-video", str(inputs / "long.mp4")]
    assert run(make_parser(), work, [*configure(num_frames=40), *case, "--context-frames", "36"]) == 2
    told = capsys.readouterr().err
    assert told.count("a context window of 36 frames is longer than the motion module's position table of 32") == 1
    assert "memory" not in told and "seed" not in told


@pytest.mark.parametrize("key", ["inference_config", "denoising_unet_config_path"])
def test_file_of_options_that_is_missing_is_not_taken_for_weights(configure, case, inputs, capsys, key):
    assert run(make_parser(), work, [*configure(**{key: str(inputs / "nowhere")}), *case]) == 2
    told = capsys.readouterr().err
    assert f"{key} {inputs / 'nowhere'} does not exist" in told and "download" not in told


def test_a_single_case_that_fails_is_told_once(configure, case, monkeypatch, capsys):
    def fail(*arguments):
        raise InputError("this case fails; another one is accepted")

    monkeypatch.setattr("ppdiffusers_ext.pipelines.animate_anyone.run.animate_case", fail)
    assert run(make_parser(), work, [*configure(), *case]) == 2
    assert capsys.readouterr().err.count("this case fails") == 1


# Bad configurations.
def test_a_missing_configuration_is_refused(refuse):
    refuse(["--config", "none.yaml"], "none.yaml", "does not exist")


def test_a_configuration_that_is_not_yaml_is_refused(inputs, refuse):
    (inputs / "config.yaml").write_text("a: [1\nb: 2")
    refuse(["--config", str(inputs / "config.yaml")], "is not YAML")


def test_an_unknown_key_names_the_nearest(configure, case, refuse):
    refuse([*configure(pretrained_vae_pth="x"), *case], "'pretrained_vae_pth'", "'pretrained_vae_path'")


def test_a_value_of_another_kind_is_refused(configure, case, refuse):
    refuse([*configure(num_inference_steps="many"), *case], "config.yaml is 'many'", "whole number")


def test_an_unknown_scheduler_option_names_the_nearest(configure, case, inputs, refuse):
    values = yaml.safe_load((ROOT / DEMO["inference_config"]).read_text())
    values["noise_scheduler_kwargs"]["beta_strat"] = values["noise_scheduler_kwargs"].pop("beta_start")
    (inputs / "inference.yaml").write_text(yaml.safe_dump(values))
    refuse([*configure(inference_config=str(inputs / "inference.yaml")), *case], "'beta_strat'", "'beta_start'")


def test_an_unknown_unet_option_names_the_nearest(configure, case, inputs, refuse):
    values = yaml.safe_load((ROOT / DEMO["inference_config"]).read_text())
    values["unet_additional_kwargs"]["use_motion_modul"] = True
    (inputs / "inference.yaml").write_text(yaml.safe_dump(values))
    refuse([*configure(inference_config=str(inputs / "inference.yaml")), *case], "'use_motion_module'")


# Bad files.
def _broken_files(folder):
    (folder / "text.png").write_text("not a picture")
    (folder / "text.mp4").write_text("not a video " * 50)
    PIL.Image.new("RGB", (1, 1)).save(folder / "point.png")
    whole = (folder / "pose.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(folder / "empty.mp4"), "w") as container:
        container.add_stream("libx264", rate=10)
        container.start_encoding()


@pytest.mark.parametrize(
    ("picture", "video", "words"),
    [
        ("none.png", "pose.mp4", ["none.png", "does not exist"]),
        ("person.png", "none.mp4", ["none.mp4", "does not exist"]),
        ("text.png", "pose.mp4", ["text.png", "not a picture"]),
        ("point.png", "pose.mp4", ["1x1"]),
        ("person.png", "text.mp4", ["text.mp4", "not a video"]),
        ("person.png", "cut.mp4", ["cut.mp4", "cut off"]),
        ("person.png", "empty.mp4", ["empty.mp4"]),
    ],
)
def test_broken_inputs_are_refused(configure, inputs, refuse, picture, video, words):
    _broken_files(inputs)
    refuse([*configure(), "--reference-image", str(inputs / picture), "--pose-video", str(inputs / video)], *words)


def test_a_missing_weight_file_is_refused(configure, case, refuse):
    refuse(
        [*configure(pose_guider_path="none.pdparams"), *case], "pose_guider_path", "none.pdparams", "does not exist"
    )


def test_all_missing_weight_files_are_told_at_once(configure, case, refuse):
    missing = {
        "pose_guider_path": "none.pdparams",
        "reference_unet_path": "nothing.pdparams",
        "inference_config": "nowhere.yaml",
    }
    refuse([*configure(**missing), *case], *missing, *missing.values(), "do not exist")


def test_nan_weights_are_refused_by_name(configure, case, inputs, refuse):
    tensors = load_tensors(DEMO["pose_guider_path"])
    tensors["conv_in.weight"][0, 0, 0, 0] = float("nan")
    paddle.save(tensors, str(inputs / "nan.pdparams"))
    refuse([*configure(pose_guider_path=str(inputs / "nan.pdparams")), *case], "conv_in.weight", "not finite")


def test_a_checkpoint_of_another_model_is_refused(configure, case, refuse):
    other = DEMO["pose_guider_path"]
    refuse([*configure(reference_unet_path=other), *case], other, "ReferenceUNet", "missing", "unexpected")


def test_a_checkpoint_without_motion_module_is_refused(configure, case, refuse):
    refuse([*configure(motion_module_path=DEMO["reference_unet_path"]), *case], "holds no motion module")


def test_missing_motion_modules_are_refused(configure, case, refuse):
    refuse([*configure(denoising_unet_path=DEMO["reference_unet_path"]), *case], "missing", "DenoisingUNet3D")


# Places that cannot be written.
def test_an_output_below_a_file_is_refused(configure, case, inputs, refuse):
    refuse([*configure(), *case, "--output", str(inputs / "person.png" / "a.mp4")], "cannot write")


def test_an_output_of_another_kind_is_refused(configure, case, inputs, refuse):
    refuse([*configure(), *case, "--output", str(inputs / "a.avi")], "a.avi", ".mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written_is_refused(configure, case, inputs, refuse):
    (inputs / "locked").mkdir(mode=0o500)
    refuse([*configure(), *case, "--output", str(inputs / "locked")], "locked", "cannot write")


def test_a_full_disk_leaves_no_file(configure, case, monkeypatch, refuse):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ppdiffusers_ext.data.video_writer.VideoWriter.write", full)
    refuse([*configure(), *case], "no space left")


def test_an_earlier_result_survives_a_failed_run(configure, case, inputs, monkeypatch):
    target = inputs / "a.mp4"
    assert run(make_parser(), work, [*configure(), *case, "--output", str(target)]) == 0
    before = target.read_bytes()
    monkeypatch.setattr("ppdiffusers_ext.data.video_writer.VideoWriter.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(make_parser(), work, [*configure(), *case, "--output", str(target), "--overwrite"])
    assert target.read_bytes() == before
    assert not list(inputs.rglob("*.part*"))


def test_debug_shows_the_traceback(configure, case, capsys):
    assert run(make_parser(), work, [*configure(), *case, "--dtype", "x", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_in_the_middle_leaves_nothing(configure, case, inputs):
    arguments = [sys.executable, "-m", "scripts.pose2vid", *configure(num_inference_steps=1000), *case]
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    seen = ""
    deadline = time.monotonic() + 120
    while "step 3/" not in seen and time.monotonic() < deadline:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: stopped by Ctrl-C" in rest and "Traceback" not in rest
    assert not [path for path in inputs.rglob("*") if path.is_file() and path.parent.name == "out"]


def save_poses(path, count, size=(64, 64)):
    with pose_file(path, "made_up", size) as file:
        for _ in range(count):
            file.write(person())


def test_reports_of_a_video_and_of_a_picture(configure, inputs, capsys):
    pose = str(inputs / "still.png")
    PIL.Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(pose)
    save_poses(inputs / "pose_poses.json", 5)
    cases = {str(inputs / "person.png"): [str(inputs / "pose.mp4"), pose]}
    arguments = [*configure(test_cases=cases, report=True, resize="crop"), "--seed", "9"]
    assert run(make_parser(), work, arguments) == 0
    pages = sorted((inputs / "out").glob("*_report.html"))
    assert re.findall("report +(.*)", capsys.readouterr().out) == [str(page) for page in pages]
    video, picture = (json.loads(page.with_suffix(".json").read_text()) for page in pages)
    assert (picture["num_frames"], video["num_frames"]) == (1, 3)
    for values, pose_path in ((picture, pose), (video, str(inputs / "pose.mp4"))):
        assert (values["command"], values["seed"]) == ("pose2vid", 9)
        assert values["options"]["pose_video"] == pose_path and "test_cases" not in values["options"]
        assert values["seconds"]["loading"] > 0 and values["seconds"]["denoising"] > 0
    assert picture["poses"] is None and "is a drawing" in picture["reasons"]["poses"]
    assert video["poses"]["body"]["points"] == 3 * 18 and video["networks"]["driving_poses"] == "made_up"
    assert run(make_parser(), work, arguments) == 2
    assert run(make_parser(), work, [*arguments, "--skip-existing", "--report", "false"]) == 0
    (inputs / "pose_poses.json").unlink()
    assert run(make_parser(), work, [*arguments, "--skip-existing"]) == 0


def test_driving_poses_that_do_not_fit_are_refused(configure, inputs, case, refuse):
    save_poses(inputs / "four.json", 4)
    named = ("--driving-poses", str(inputs / "four.json"))
    report = [*configure(), *case, "--report"]
    refuse([*report, *named], "have 4 frames", "has 5")
    refuse([*configure(), *case, *named], "--report is accepted")
    refuse([*report, "--driving-poses", str(inputs / "none.json")], "none.json", "not exist")
    refuse([*configure(test_cases={case[1]: [case[3]]}), "--report", *named], "belongs to pose_video")
    refuse([*report, *named, "--output", str(inputs / "four.json")], "four.json")
