"""scripts.stable_animator, from files to files, with small networks of random weights."""

import json

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.models.stable_animator import IResNet
from ppdiffusers_ext.pipelines.stable_animator import run as stable_animation
from ppdiffusers_ext.preprocess.faces import draw_mask
from ppdiffusers_ext.preprocess.pose_file import pose_file
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from scripts import stable_animator
from scripts.command import run
from tests.pipelines.stable_animator.test_pipeline import CONFIG, pipeline
from tests.support.painted_faces import painted_faces, write_face_networks
from tests.support.people import person

__all__ = ["pipeline"]  # a fixture

FACE = (30, 20, 70, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pipeline):
    """The files of a small model, me.png with a face, and poses/."""
    folder = tmp_path_factory.mktemp("stable animator")
    svd = folder / "svd"
    pipeline.vae.save_pretrained(str(svd / "vae"))
    pipeline.image_encoder.save_pretrained(str(svd / "image_encoder"))
    for name, content in (
        ("unet/config", CONFIG["args"]["unet"]),
        ("scheduler/scheduler_config", CONFIG["scheduler"]),
    ):
        (svd / name).parent.mkdir(parents=True)
        (svd / f"{name}.json").write_text(json.dumps({**content, "_class_name": "of another library"}))
    for name in ("unet", "pose_net", "face_encoder"):
        arrays = {key: tensor.numpy() for key, tensor in getattr(pipeline, name).state_dict().items()}
        write_safetensors(folder / f"{name}.safetensors", arrays, {"format": "pd"})
    write_face_networks(folder)
    write_image(folder / "me.png", painted_faces((128, 128), FACE))
    random = np.random.default_rng(0)
    for i in range(3):
        skeleton = random.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        skeleton[..., 0], skeleton[..., 2] = skeleton[..., 1] // 2, 0  # of colours, but for the face
        if i != 1:
            skeleton[20:40, 30:50] = 200
        write_image(folder / "poses" / f"frame_{i}.png", skeleton)
        write_image(folder / "masks" / f"frame_{i}.png", draw_mask([(40, 10, 90, 50)], (64, 128)))
        write_image(folder / "empty" / f"frame_{i}.png", np.zeros((64, 128), np.uint8))
    write_image(folder / "mask.png", draw_mask([FACE], (128, 128)))
    write_image(folder / "black.png", np.zeros((128, 128), np.uint8))
    write_image(folder / "grey.png", np.full((128, 128), 254, np.uint8))
    write_image(folder / "two.png", painted_faces((128, 128), FACE, (80, 80, 100, 100)))
    paddle.seed(1)
    recognizer = IResNet((1, 1, 1, 1), (4, 4, 8, 8), 16)
    arrays = {original_name(key): np.asarray(value) for key, value in recognizer.state_dict().items()}
    arrays["fc.weight"] = arrays["fc.weight"].T
    write_torch(folder / "recognizer.pth", arrays)
    return folder


def original_name(name):
    for ours, original in ((".prelu._", ".prelu."), ("._mean", ".running_mean"), ("._variance", ".running_var")):
        name = f".{name}".replace(ours, original)[1:]
    return name


def call(folder, output, *arguments, image="me.png", poses="poses"):
    names = {"unet": "unet", "posenet": "pose_net", "face_encoder": "face_encoder"}
    weights = {f"--{option}_model_name_or_path": folder / f"{name}.safetensors" for option, name in names.items()}
    given = {
        "--pretrained_model_name_or_path": folder / "svd",
        **weights,
        "--faces": folder,
        "--validation_image": folder / image,
        "--validation_control_folder": folder / poses,
        "--output_dir": output,
        "--width": 128,
        "--height": 64,
        "--num_inference_steps": 1,
        "--face_embedding_extractor_weight_path": folder / "recognizer.pth",
        **dict(zip(arguments[::2], arguments[1::2])),
    }
    words = [str(word) for pair in given.items() for word in pair if word is not None]
    return run(stable_animator.make_parser(), stable_animator.work, words)


def frames_of(output):
    return np.stack(list(open_frames(output / "animated_images")))


def test_picture_and_skeletons_become_pictures_a_gif_and_a_video(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "out") == 0
    assert "video     " in capsys.readouterr().out
    frames = frames_of(tmp_path / "out")
    assert frames.shape == (3, 64, 128, 3) and frames.std() > 1
    info = probe_video(tmp_path / "out" / "animated_images.mp4")
    assert (info.width, info.height, info.num_frames, info.fps) == (128, 64, 3, 8)
    with PIL.Image.open(tmp_path / "out" / "animated_images.gif") as gif:
        assert gif.n_frames == 3 and gif.size == (128, 64) and gif.info["duration"] in (120, 125, 130)


def test_embedding_from_a_file_is_used_and_no_face_looked_for(folder, tmp_path, capsys):
    for name, value in (("zeros", 0.0), ("ones", 1.0)):
        np.save(tmp_path / f"{name}.npy", np.full(512, value, np.float32))
    assert call(folder, tmp_path / "without", "--no-face", None) == 0
    given = {name: ("--face_embedding", tmp_path / f"{name}.npy", "--faces", "nowhere") for name in ("zeros", "ones")}
    assert all(call(folder, tmp_path / name, *words) == 0 for name, words in given.items())
    assert np.array_equal(frames_of(tmp_path / "zeros"), frames_of(tmp_path / "without"))
    assert not np.array_equal(frames_of(tmp_path / "ones"), frames_of(tmp_path / "without"))
    assert call(folder, tmp_path / "out", "--face_embedding", tmp_path / "none.npy") == 2
    assert "none.npy does not exist; a .npy file is accepted" in capsys.readouterr().err


def test_video_of_skeletons_seed_and_memory(folder, tmp_path):
    with VideoWriter(folder / "poses.mp4", 8, 96, 96, crf=0) as writer:
        writer.write(np.stack(list(open_frames(folder / "poses"))))
    assert call(folder, tmp_path / "a", "--memory", "low", poses="poses.mp4") == 0
    assert call(folder, tmp_path / "b", poses="poses.mp4") == 0
    assert call(folder, tmp_path / "c", "--seed", 1, poses="poses.mp4") == 0
    first, same, other = (frames_of(tmp_path / name).astype(int) for name in "abc")
    assert np.array_equal(first, same) and np.abs(first - other).max() > 5


def test_engine_presets_and_rungs_of_memory_give_nearly_the_same(folder, tmp_path):
    assert call(folder, tmp_path / "exact") == 0
    ways = {
        "engine": ("--engine", "onnx", "--engine-cache", tmp_path / "cache"),
        "minimal": ("--memory", "minimal", "--vae-device", "cpu"),
        "bf16": ("--dtype", "bf16"),
        "balanced": ("--preset", "balanced"),
    }
    exact = frames_of(tmp_path / "exact").astype(int)
    for name, way in ways.items():
        assert call(folder, tmp_path / name, *way) == 0
        assert np.abs(frames_of(tmp_path / name) - exact).mean() < 3


def test_preset_of_another_system_is_told(folder, tmp_path, capsys):
    (tmp_path / "preset.yaml").write_text("context_overlap: 2\n")
    assert call(folder, tmp_path / "out", "--preset", tmp_path / "preset.yaml") == 2
    assert "has context_overlap; guidance_interval, step_cache" in capsys.readouterr().err


def test_face_is_found_in_the_picture(folder, tmp_path, capsys):
    write_image(folder / "nobody.png", painted_faces((128, 128)))
    assert call(folder, tmp_path / "nobody", image="nobody.png") == 0
    assert "shows no face: the animation follows the picture alone" in capsys.readouterr().err
    assert call(folder, tmp_path / "face") == 0
    assert "no face" not in capsys.readouterr().err
    assert call(folder, tmp_path / "none", "--no-face", None) == 0
    assert np.abs(frames_of(tmp_path / "face").astype(int) - frames_of(tmp_path / "none")).max() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--width", 100), "100x64 does not fit; multiples of 64 are accepted"),
        (
            ("--unet_model_name_or_path", "nowhere.pth"),
            "unet nowhere.pth does not exist; `python scripts/download",
        ),
        (("--pretrained_model_name_or_path", "nowhere"), "svd nowhere does not exist"),
        (("--faces", "nowhere"), "--only antelopev2"),
        (("--validation_control_folder", "nowhere"), "nowhere does not exist"),
        (("--validation_image", "nowhere.png"), "nowhere.png does not exist"),
        (("--tile_size", 1), "--tile-size is 1; a whole number from 2"),
        (("--device", "gpu"), "needs a Paddle with CUDA"),
        (("--engine", "tensorrt"), "engine 'tensorrt' is not known"),
        (("--memory", "least"), "memory 'least' is not known"),
        (("--preset", "quick"), "preset 'quick' does not exist"),
        (("--dtype", "int8"), "dtype 'int8' is not known"),
        (("--vae-device", "tpu"), "device 'tpu' is not known"),
        (("--step-cache-interval", 0), "--step-cache-interval is 0; a whole number from 1"),
        (("--resize", "squeeze"), "--resize 'squeeze' is not known; stretch, crop, pad or fit is accepted"),
        (("--face-channels", "gbr"), "--face-channels 'gbr' is not known; rgb or bgr is accepted"),
        (("--fps", 0), "--fps is 0.0; a number from 0.1 to 240"),
        (("--decode_chunk_size", 0), "--decode-chunk-size is 0; a whole number from 1"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(folder, tmp_path, capsys, arguments, message):
    assert call(folder, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.rglob("*.*"))


def test_files_are_opened_and_networks_described_once(folder, tmp_path, opened):
    assert call(folder, tmp_path / "out") == 0
    assert opened.pop("parts") == 5
    assert opened[str(folder / "me.png")] == 1


def test_what_does_not_fit_is_told_before_networks_are_opened(folder, tmp_path, capsys, monkeypatch):
    for owner, name in ((stable_animation, "find_face"), (stable_animation.StableAnimatorPipeline, "open")):
        monkeypatch.setattr(owner, name, lambda *_: pytest.fail("networks are opened"))
    for arguments in (("--width", 100), ("--tile_size", 1), ("--fps", -1), ("--num_inference_steps", 0)):
        assert call(folder, tmp_path / "out", *arguments) == 2
    assert capsys.readouterr().err.count("error: ") == 4


def test_pictures_of_an_earlier_run_stay(folder, tmp_path, capsys):
    write_image(tmp_path / "out" / "animated_images" / "frame_7.png", np.zeros((16, 16, 3), np.uint8))
    assert call(folder, tmp_path / "out") == 2
    assert "animated_images" in (error := capsys.readouterr().err.splitlines()[-1]) and "--overwrite replaces" in error
    assert call(folder, tmp_path / "out", "--overwrite", None) == 2
    assert "frame_7.png in it has no record of having been made" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.rglob("*.*")] == ["frame_7.png"]


def read_json(path):
    return json.loads(path.read_text())


def optimize(folder, output, *arguments, **options):
    return call(folder, output, "--optimize-face", None, "--num_optimization_iter", 2, *arguments, **options)


def test_faces_are_optimised_with_what_is_found(folder, tmp_path, capsys):
    assert optimize(folder, tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "face_optimization.json" in told.out and "1 skeleton of 3 without a face" in told.err
    first, second = read_json(tmp_path / "out" / "face_optimization.json")
    assert (first["step"], first["iteration"], second["iteration"]) == (0, 0, 1)
    assert first["cosines"][1] is None and all(-1 <= first["cosines"][i] <= 1 for i in (0, 2))
    assert 0 <= second["loss"] < first["loss"]
    assert call(folder, tmp_path / "plain") == 0
    assert np.abs(frames_of(tmp_path / "out").astype(int) - frames_of(tmp_path / "plain")).max() > 1


def test_faces_are_optimised_with_masks_and_tiles(folder, tmp_path):
    masks = ("--validation_image_mask", folder / "mask.png", "--validation_control_mask_folder", folder / "masks")
    steps = ("--num_inference_steps", 3, "--start_refine_step", 1, "--end_refine_step", 1)
    tiles = ("--tile_size", 2, "--frames_overlap", 1, "--decode_chunk_size", 2)
    assert optimize(folder, tmp_path / "out", "--no-face", None, *masks, *steps, *tiles) == 0
    history = read_json(tmp_path / "out" / "face_optimization.json")
    assert [(entry["step"], entry["iteration"]) for entry in history] == [(1, 0), (1, 1)]
    assert all(None not in entry["cosines"] for entry in history)


@pytest.fixture
def poses(folder):
    """poses.json among the pictures of poses."""
    path = folder / "poses" / "poses.json"
    with pose_file(path, "made_up", (96, 96)) as file:
        for _ in range(3):
            file.write(person())
    yield path
    path.unlink()


def test_report_is_a_page_beside_the_video(folder, tmp_path, capsys, poses):
    assert call(folder, tmp_path / "a", "--report", None, "--no-face", None) == 0
    page = tmp_path / "a" / "animated_images_report.html"
    assert f"report    {page}" in capsys.readouterr().out
    values = read_json(tmp_path / "a" / "animated_images_report.json")
    assert (values["command"], values["num_frames"], values["width"]) == ("stable_animator", 3, 128)
    assert set(values["seconds"]) == {"loading", "denoising", "decoding and writing", "measuring"}
    assert values["networks"]["driving_poses"] == "made_up" and values["poses"]["body"]["points"] == 3 * 18
    assert not (tmp_path / "a" / "identity.json").exists()
    assert call(folder, tmp_path / "a", "--report", None, "--no-face", None) == 2
    assert call(folder, tmp_path / "a", "--report", None, "--no-face", None, "--skip-existing", None) == 0
    capsys.readouterr()
    assert call(folder, tmp_path / "b", "--no-face", None, "--driving-poses", poses) == 2
    assert "--report is accepted" in capsys.readouterr().err


def test_report_says_how_like_faces_stay(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "a", "--reports", None) == 0
    assert "identity.json: CSIM" in capsys.readouterr().out
    report = read_json(tmp_path / "a" / "identity.json")
    seen = [value for value in report["csim"] if value is not None]
    assert len(report["csim"]) == 3 and report["frames_without_face"] == 3 - len(seen) and report["picture_has_face"]
    assert report["mean_csim"] == pytest.approx(np.mean(seen))
    write_image(folder / "nobody.png", painted_faces((128, 128)))
    assert call(folder, tmp_path / "b", "--reports", None, image="nobody.png") == 0
    assert "no CSIM: the picture shows no face" in capsys.readouterr().out


def test_two_faces_and_another_shape_are_told(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "a", image="two.png") == 0
    told = capsys.readouterr().err
    assert "two.png shows 2 faces: the largest is taken" in told
    assert "two.png is 128x128, of another shape than 128x64, and is stretched" in told
    assert call(folder, tmp_path / "b", "--resize", "pad", image="two.png") == 0
    assert "and is put between borders" in capsys.readouterr().err
    assert np.abs(frames_of(tmp_path / "a").astype(int) - frames_of(tmp_path / "b")).max() > 1


def test_options_of_the_better_way_matter(folder, tmp_path):
    tiles = ("--tile_size", 2, "--frames_overlap", 0)
    options = {"plain": (), "noise": ("--own-noise", None), "anchor": ("--no-anchor", None)}
    for name, option in options.items():
        assert call(folder, tmp_path / name, *tiles, *option) == 0
    plain, noise, anchor = (frames_of(tmp_path / name).astype(int) for name in options)
    assert np.abs(plain - noise).max() > 1 and np.abs(plain - anchor).max() > 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--end_refine_step", 1), "steps 0 to 1 cannot be refined, of 1 that are counted from 0"),
        (("--start_refine_step", 1), "steps 1 to 0 cannot be refined"),
        (("--num_optimization_iter", 0), "--num-optimization-iter is 0; a whole number from 1 to 1000 is accepted"),
        (("--face_embedding_extractor_weight_path", "nowhere.pth"), "nowhere.pth does not exist"),
        (("--face_embedding_extractor_weight_path", "unet.safetensors"), "not hold the weights of this IResNet"),
        (("--validation_image_mask", "nowhere.png"), "nowhere.png does not exist"),
        (("--validation_image_mask", "black.png"), "black.png is black; white (255)"),
        (("--validation_image_mask", "grey.png"), "grey.png has greys up to 254 only; white (255)"),
        (("--validation_image_mask", "masks/frame_0.png"), "is 128x64; 128x128, as what it masks, is needed"),
        (("--validation_control_mask_folder", "nowhere"), "nowhere does not exist"),
        (("--validation_control_mask_folder", "empty"), "no mask in"),
        (("--validation_control_mask_folder", "mask.png"), "has 1 masks for 3 skeletons; one each is needed"),
        (("--validation_control_mask_folder", "poses"), "is 96x96; 128x64, as what it masks, is needed"),
        (("--no-face", None), "the picture shows no face that could be optimised for; --picture-mask"),
        (("--validation_control_folder", "empty"), "show no faces (dots); --masks"),
    ],
)
def test_bad_input_for_the_optimisation_is_told(folder, tmp_path, capsys, arguments, message):
    option, value = arguments
    value = folder / value if isinstance(value, str) else value
    assert optimize(folder, tmp_path / "out", option, value) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.rglob("*.*"))


def test_misnamed_poses_are_told(folder, tmp_path, capsys):
    skeleton = np.zeros((96, 96, 3), np.uint8)
    for name, message in (("first.png", "first.png has no number"), ("frame_00.png", "has the number of frame_0")):
        poses = tmp_path / name.partition(".")[0]
        for other in ("frame_0.png", name):
            write_image(poses / other, skeleton)
        assert call(folder, tmp_path / "out", poses=poses) == 2
        assert message in (error := capsys.readouterr().err.splitlines()[-1]) and "frame_1.png are accepted" in error
    poses = tmp_path / "gap"
    for name in ("frame_0.png", "frame_2.png"):
        write_image(poses / name, skeleton)
    assert call(folder, tmp_path / "out", poses=poses) == 0
    assert "lacks the pictures of 1 number (1): those that are there are taken in order" in capsys.readouterr().err


def test_weights_of_another_network_are_named(folder, tmp_path, capsys):
    code = call(folder, tmp_path / "out", "--unet_model_name_or_path", folder / "pose_net.safetensors")
    assert code == 2
    assert "does not hold the weights of this AnimationUNet" in capsys.readouterr().err
