"""scripts.predict_t2v, predict_i2v and predict_v2v, from files to files, with small networks of random weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import yaml

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate import run as easy_animation
from ppdiffusers_ext.pipelines.easy_animate.loading import MOTION_MODULE
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.writing import write_safetensors
from scripts import predict_i2v, predict_t2v, predict_v2v
from tests.support.easy_folders import shard, v1_options, write_easy
from tests.support.vocabularies import write_bert

VERSIONS = ("v4", "v4_t2v", "v3", "v2", "v1")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of all versions, with tokenizers, and start.png, end.png, mask.png, video.mp4."""
    folder = tmp_path_factory.mktemp("easy animate")
    for version in VERSIONS:
        write_easy(folder / version, version)
    random = np.random.default_rng(0)
    write_image(folder / "start.png", random.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    write_image(folder / "end.png", np.full((48, 64, 3), 200, np.uint8))
    write_image(folder / "square.png", np.full((64, 64, 3), 90, np.uint8))
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    write_image(folder / "mask.png", mask)
    with VideoWriter(folder / "video.mp4", 24, 64, 48) as writer:
        writer.write(np.stack([np.full((48, 64, 3), 10 * i, np.uint8) for i in range(20)]))
    return folder


def call(command, models, version, *options):
    """Run a command with the small settings: its exit code."""
    config = {"model": str(models / version), "width": 64, "height": 48, "frames": 8, "steps": 2, "device": "cpu"}
    if version == "v1":
        config |= {"motion_module_path": str(models / version / MOTION_MODULE), "transformer": v1_options()}
    (models / f"{version}.yaml").write_text(yaml.safe_dump(config))
    return command.main(["--config", str(models / f"{version}.yaml"), *map(str, options)])


def pixels(path):
    return np.stack(list(open_frames(path)))


def sheets(folder, names):
    """The sheets of videos, which lose nothing, unlike the videos: a codec makes several levels of one."""
    return (np.asarray(read_image(folder / f"{name}_sheet.png")).astype(int) for name in names)


@pytest.mark.parametrize(
    ("version", "frames", "height"),
    [("v4", 8, 48), ("v4_t2v", 8, 48), ("v3", 16, 48), ("v2", 9, 48), ("v1", 3, 32)],  # V1's motion is in squares
)
def test_a_text_becomes_a_video(models, tmp_path, version, frames, height, capsys):
    output = tmp_path / "out.mp4"
    assert call(predict_t2v, models, version, "--prompt", "A dog is running", "--output", output, "-L", frames) == 0
    info = probe_video(output)
    assert (info.num_frames, info.width, info.height, info.fps) == (frames, 64, height, 24)
    assert PIL.Image.open(tmp_path / "out_sheet.png").size[0] <= 1536
    told = capsys.readouterr()
    assert f"video    {output}" in told.out
    assert "seed 43 on cpu" in told.err


def test_the_same_seed_makes_the_same_video_and_another_another(models, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        given = ("--prompt", "a cat", "--seed", seed, "--output", tmp_path / f"{name}.mp4")
        assert call(predict_t2v, models, "v4", *given) == 0
    a, b, c = (pixels(tmp_path / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    "command, given, reference",
    [
        (predict_t2v, ("--prompt", "</script><b>a cat"), "first frame of the result"),
        (predict_i2v, ("--start-image", "start.png"), "start picture"),
        (predict_v2v, ("--video", "video.mp4"), "first frame of the result"),
    ],
)
def test_report_measures_drift_from_the_start_picture_or_the_first_frame(
    models, tmp_path, capsys, command, given, reference
):
    given = [models / word if word.endswith((".png", ".mp4")) else word for word in given]
    assert call(command, models, "v4", *given, "--output", tmp_path / "out.mp4", "--report") == 0
    assert f"report   {tmp_path / 'out_report.html'}" in capsys.readouterr().out
    values = json.loads((tmp_path / "out_report.json").read_text())
    assert (values["reference"], values["num_frames"], values["poses"]) == (reference, 8, None)
    assert values["reasons"]["poses"] == "no poses drive this system"
    page = (tmp_path / "out_report.html").read_text()
    assert "</script>" not in page and ("&lt;/script&gt;" in page) == (command is predict_t2v)


def test_one_frame_is_a_picture(models, tmp_path):
    given = ("--prompt", "a cat", "-L", 1, "--output", tmp_path / "cat.png")
    assert call(predict_t2v, models, "v4", *given) == 0
    assert read_image(tmp_path / "cat.png").size == (64, 48)


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_a_text_becomes_a_webm_or_a_gif(models, tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    assert call(predict_t2v, models, "v4", "--prompt", "a cat", "--output", output, "-L", 8) == 0
    info = probe_video(output)
    assert (info.num_frames, info.width, info.height) == (8, 64, 48)


def test_a_gif_of_too_many_frames_a_second_is_refused(models, tmp_path, capsys):
    given = ("--prompt", "a cat", "--fps", 60, "--output", tmp_path / "a.gif")
    refuse(capsys, call(predict_t2v, models, "v4", *given), "a.gif with 60 fps; up to 50 fps")


@pytest.mark.parametrize("options", [("--sampler", "Euler A"), ("--sampler", "DPM++"), ("--sampler", "PNDM")])
def test_samplers_by_name(models, tmp_path, options):
    given = ("--prompt", "a cat", "--output", tmp_path / "cat.mp4", *options)
    assert call(predict_t2v, models, "v4", *given) == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--memory", "medium"),
        ("--memory", "low"),
        ("--weights", "int8"),
        ("--weights", "fp8"),
        ("--guidance-scale", "1"),
        ("--guidance-interval", "0.5", "1"),
    ],
    ids="_".join,
)
def test_ways_to_save_memory_and_time_make_nearly_the_same(models, tmp_path, options):
    for name, more in (("a", ()), ("b", options)):
        given = ("--prompt", "a cat", "--output", tmp_path / f"{name}.mp4", *more)
        assert call(predict_t2v, models, "v4", *given) == 0
    a, b = sheets(tmp_path, "ab")
    difference = np.abs(a - b).max()
    if options[0] == "--memory":
        assert difference <= 1
    elif options[0] == "--weights":
        assert 0 < np.abs(a - b).mean() < 8
    else:
        assert difference > 1


def test_an_engine_makes_the_same_and_fewer_blocks_something_else(models, tmp_path):
    engine = ("--engine", "openvino", "--engine-cache", tmp_path / "cache")
    videos = {"plain": (), "engine": engine, "fast": (*engine, "--block-cache-threshold", "9")}
    for name, more in videos.items():
        given = ("--prompt", "a cat", "--steps", 4, "--output", tmp_path / f"{name}.mp4", *more)
        assert call(predict_t2v, models, "v4", *given) == 0
    plain, same, fast = sheets(tmp_path, videos)
    assert np.abs(plain - same).max() <= 1
    assert np.abs(plain - fast).mean() > 0.1


def test_the_lowest_rung_makes_the_same_but_for_tiles(models, tmp_path):
    for name, more in (("a", ()), ("b", ("--memory", "minimal", "--vae-tiling", "false"))):
        given = ("--prompt", "a cat", "--output", tmp_path / f"{name}.mp4", *more)
        assert call(predict_t2v, models, "v4", *given) == 0
    a, b = sheets(tmp_path, "ab")
    assert np.abs(a - b).max() <= 1


def test_a_long_video_is_made_in_parts_of_which_each_begins_with_the_end_of_the_one_before(
    models, tmp_path, monkeypatch, capsys
):
    known = []
    denoise = easy_animation._denoise
    monkeypatch.setattr(
        easy_animation, "_denoise", lambda *given: known.append((given[4], given[5])) or denoise(*given)
    )
    given = ("--prompt", "a cat", "--frames", 29, "--segment", 16, "--output", tmp_path / "long.mp4")
    assert call(predict_t2v, models, "v4", *given) == 0
    assert probe_video(tmp_path / "long.mp4").num_frames == 24
    assert [count for _, count in known] == [16, 16]
    assert known[0][0] is None
    assert (~known[1][0].mask).any(axis=(1, 2)).tolist() == [True] * 8 + [False] * 8
    told = capsys.readouterr().err
    assert "frames 29 is rounded down to 24" in told
    assert "of 24 frames is made in 2 parts of 16 frames that share 4; the last one has 16 and shares 8" in told


def prepared(config):
    return easy_animation.prepare(config.check("text"), "text", easy_animation.Inputs(), Runtime("cpu", "float32"))


def test_parts_make_all_frames(models, tmp_path):
    options = {"prompt": "x", "output": "a.mp4", "width": 64, "height": 48}
    config = EasyAnimateConfig(model=str(models / "v4"), num_frames=24, segment=16, overlap=10, **options)
    assert prepared(config)[1] == [(0, 16), (6, 16), (8, 16)]
    with pytest.raises(InputError, match="parts of 8 frames cannot share 9"):
        prepared(replace(config, segment=10, overlap=9))


def test_parts_fade_into_each_other():
    first, second = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert [int(easy_animation.fade(first, second, i / 4)[0, 0, 0]) for i in range(4)] == [100, 125, 150, 175]


@pytest.mark.parametrize("version", ["v4", "v4_t2v", "v3"])
def test_pictures_become_a_video_that_knows_them(models, tmp_path, version):
    outputs = []
    for name, more in (("start", ()), ("both", ("--end-image", models / "end.png"))):
        outputs.append(tmp_path / f"{name}.mp4")
        given = ("--start-image", models / "start.png", "--prompt", "a dog", "--output", outputs[-1], *more)
        assert call(predict_i2v, models, version, *given) == 0
    assert not np.array_equal(*map(pixels, outputs))


def test_files_are_opened_and_networks_described_once(models, tmp_path, opened):
    pictures = {f"--{name}-image": str(models / f"{name}.png") for name in ("start", "end")}
    given = ("--prompt", "x", "--output")
    words = [word for pair in pictures.items() for word in pair]
    assert call(predict_i2v, models, "v4", *words, *given, tmp_path / "a.mp4") == 0
    assert opened.pop("parts") == 5
    assert opened == dict.fromkeys(pictures.values(), 1)
    opened.clear()
    video = str(models / "video.mp4")
    assert call(predict_v2v, models, "v4", "--video", video, "--fps", 12, *given, tmp_path / "b.mp4") == 0
    assert opened == {"parts": 5, video: 1}


def test_base_takes_the_bucket_of_the_pictures_shape(models, tmp_path, monkeypatch):
    made = []
    opener = "ppdiffusers_ext.pipelines.easy_animate.pipeline.EasyAnimatePipeline.open"
    monkeypatch.setattr(opener, lambda config, *_: made.append(config) or 1 / 0)
    given = ("--start-image", models / "square.png", "--prompt", "x", "--base", 512, "--output", tmp_path / "a.mp4")
    with pytest.raises(ZeroDivisionError):
        call(predict_i2v, models, "v4", *given)
    assert (made[0].width, made[0].height) == (512, 512)


@pytest.mark.parametrize("version", ["v4", "v4_t2v"])
def test_a_video_is_made_anew_where_the_mask_is_white(models, tmp_path, version):
    results = []
    for name, more in (("all", ()), ("half", ("--mask", models / "mask.png")), ("whole", ("--strength", "1"))):
        output = tmp_path / f"{name}.mp4"
        given = ("--video", models / "video.mp4", "--prompt", "a dog", "--output", output, *more)
        assert call(predict_v2v, models, version, *given) == 0
        results.append(pixels(output))
    assert results[0].shape == (8, 48, 64, 3)
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_loras_are_merged_with_their_weights(models, tmp_path, capsys):
    rng = np.random.default_rng(0)
    name = "lora_unet__blocks_0_attn1_to_q"
    small = {
        f"{name}.lora_down.weight": rng.normal(size=(2, 32)).astype(np.float32),
        f"{name}.lora_up.weight": rng.normal(size=(32, 2)).astype(np.float32),
        f"{name}.alpha": np.float32(2).reshape([]),
    }
    write_safetensors(tmp_path / "own.safetensors", small, {"format": "pt"})
    for output, weight in (("none", 0), ("some", 1)):
        more = ("--lora", tmp_path / "own.safetensors", weight, "--output", tmp_path / f"{output}.mp4")
        assert call(predict_t2v, models, "v4", "--prompt", "a cat", *more) == 0
    assert call(predict_t2v, models, "v4", "--prompt", "a cat", "--output", tmp_path / "plain.mp4") == 0
    plain, none, some = (pixels(tmp_path / f"{output}.mp4") for output in ("plain", "none", "some"))
    assert np.array_equal(plain, none)
    assert not np.array_equal(plain, some)
    other = {name.replace("blocks_0", "blocks_99"): array for name, array in small.items()}
    write_safetensors(tmp_path / "other.safetensors", other, {"format": "pt"})
    given = ("--prompt", "a cat", "--output", tmp_path / "b.mp4", "--lora", tmp_path / "other.safetensors", "0.6")
    refuse(capsys, call(predict_t2v, models, "v4", *given), "blocks_99_attn1_to_q", "other.safetensors")


def test_what_of_a_prompt_is_not_seen_is_told(models, tmp_path, capsys):
    given = ("--prompt", "a dog is running on the grass, the cat", "--output", tmp_path / "a.mp4")
    assert call(predict_t2v, models, "v4", *given) == 0
    assert 'BERT sees 7 of them; not seen is its end: "on the grass, the cat"' in capsys.readouterr().err


def test_frames_that_are_no_multiple_are_rounded_with_a_notice(models, tmp_path, capsys):
    given = ("--prompt", "a dog", "-L", 13, "--output", tmp_path / "a.mp4")
    assert call(predict_t2v, models, "v4", *given) == 0
    assert "frames 13 is rounded down to 8, a multiple of 8" in capsys.readouterr().err
    assert probe_video(tmp_path / "a.mp4").num_frames == 8


def refuse(capsys, code, *parts):
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith("error: ")
    assert [part for part in parts if part not in error] == []


@pytest.mark.parametrize(
    ("command", "options", "parts"),
    [
        (predict_t2v, ("--prompt", " "), ("the prompt is empty",)),
        (predict_t2v, ("--prompt", "x", "-L", "5"), ("frames is 5; 1, or a multiple of 8",)),
        (predict_i2v, ("--prompt", "x", "--end-image", "end.png"), ("end picture", "without a start")),
        (predict_i2v, ("--prompt", "x", "--start-image", "none.png"), ("none.png does not exist",)),
        (predict_v2v, ("--prompt", "x", "--video", "video.mp4", "--strength", "1.2"), ("strength is 1.2; a number",)),
        (predict_v2v, ("--prompt", "x", "--video", "none.mp4"), ("none.mp4 does not exist",)),
        (
            predict_t2v,
            ("--prompt", "x", "--lora", "a.safetensors", "much"),
            ("--lora", "'much'", "a file and a weight"),
        ),
        (predict_t2v, ("--prompt", "x", "--lora", "a.safetensors", "1"), ("a.safetensors does not exist",)),
        (predict_t2v, ("--prompt", "x", "--engine", "warp"), ("engine 'warp' is not known",)),
        (predict_t2v, ("--prompt", "x", "--transformer", "depth", "2"), ("depth",)),
        (predict_t2v, ("--prompt", "x", "--weights", "int8", "--engine", "onnx"), ("eager",)),
    ],
)
def test_bad_input_is_refused_before_networks_are_loaded(
    models, tmp_path, capsys, monkeypatch, command, options, parts
):
    monkeypatch.chdir(models)
    monkeypatch.setattr("ppdiffusers_ext.pipelines.loading.Part.load", lambda self: 1 / 0)
    refuse(capsys, call(command, models, "v4", "--output", tmp_path / "a.mp4", *options), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda folder: (folder / "tokenizer" / "vocab.txt").unlink(), "vocab.txt"),
        (lambda folder: (folder / "tokenizer_2" / "spiece.model").unlink(), "spiece.model"),
        (lambda folder: (folder / "tokenizer_2" / "spiece.model").write_bytes(b"no model"), "spiece.model"),
        (lambda folder: write_bert(folder / "tokenizer", model_max_length=5), "gives 5 tokens"),
        (lambda folder: shutil.rmtree(folder / "vae"), "vae/config.json does not exist"),
        (lambda folder: (folder / "transformer" / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: shutil.rmtree(folder), "does not exist"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(models, tmp_path, capsys, damage, part):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(models / "v4", folder / "v4")
    damage(folder / "v4")
    refuse(capsys, call(predict_t2v, folder, "v4", "--prompt", "x", "--output", tmp_path / "a.mp4"), part)
    assert not (tmp_path / "a.mp4").exists()


def test_a_missing_shard_is_named(models, tmp_path, capsys):
    folder = tmp_path / "models"
    folder.mkdir()
    files = write_easy(folder / "v4", "v4")
    name = "transformer/diffusion_pytorch_model.safetensors"
    shards = shard(folder / "v4" / name, files[name])
    (folder / "v4" / "transformer" / shards[1]).unlink()
    code = call(predict_t2v, folder, "v4", "--prompt", "x", "--output", tmp_path / "a.mp4")
    refuse(capsys, code, shards[1], "does not exist")
