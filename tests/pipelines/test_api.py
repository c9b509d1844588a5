"""The Python API, the same for the pipelines of all systems: opening, calling, switching, saving."""

import dataclasses
import functools
import json
import shutil
import socket
from pathlib import Path

import numpy as np
import paddle
import PIL.Image
import pytest
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.animate_anyone import conversion as animate_conversion
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.dispatch import find_pipeline
from ppdiffusers_ext.pipelines.easy_animate import conversion as easy_conversion
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.inputs import to_picture, to_pictures
from ppdiffusers_ext.pipelines.run_options import TRAINED, write_trained
from ppdiffusers_ext.pipelines.stable_animator import conversion as stable_conversion
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.weights.loading import load_tensors
from tests.conftest import picture
from tests.pipelines.stable_animator import test_pipeline as stable
from tests.support.easy_folders import write_easy

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo_model"
CLASSES = (Pose2VideoPipeline, StableAnimatorPipeline, EasyAnimatePipeline, EasyAnimateInpaintPipeline)
CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
stable_pipeline = stable.pipeline
POSES = [picture(1)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, stable_pipeline):
    """Class -> kind of folder -> folder: as converted ("ours") and as published ("original")."""
    root = tmp_path_factory.mktemp("folders")
    stable_pipeline.save_pretrained(root / "stable")
    stable_conversion.to_torch(root / "stable", root / "stable_original")
    animate_conversion.to_torch(DEMO, root / "animate_original")
    animate_conversion.to_paddle(root / "animate_original", root / "animate")
    found = {
        Pose2VideoPipeline: {"ours": root / "animate", "original": root / "animate_original", "demo": DEMO},
        StableAnimatorPipeline: {"ours": root / "stable", "original": root / "stable_original"},
    }
    for cls, version in ((EasyAnimatePipeline, "v4_t2v"), (EasyAnimateInpaintPipeline, "v4")):
        write_easy(root / version, version)
        easy_conversion.to_paddle(root / version, root / f"{version}_ours")
        found[cls] = {"ours": root / f"{version}_ours", "original": root / version}
    return found


ARGUMENTS = {
    Pose2VideoPipeline: {"width": 64, "height": 64, "guidance_scale": 1.0},
    StableAnimatorPipeline: {"width": 64, "height": 64, "max_guidance_scale": 1.0},
    EasyAnimatePipeline: {"width": 48, "height": 32, "num_frames": 8},
    EasyAnimateInpaintPipeline: {"width": 48, "height": 32, "num_frames": 8},
}


def call(pipeline, **options):
    """What a pipeline makes of small inputs, in a step."""
    pipeline.set_progress_bar_config(disable=True)
    cls = type(pipeline)
    inputs = {"prompt": "a dog", "negative_prompt": "grass"}
    if cls is Pose2VideoPipeline:
        inputs = {"ref_image": picture(100), "pose_images": POSES}
    elif cls is StableAnimatorPipeline:
        inputs = {"image": picture(100), "pose_images": POSES}
    given = {"num_inference_steps": 1, "generator": 7, "output_type": "latent", **ARGUMENTS[cls]}
    return pipeline(**{**inputs, **given, **options}).frames


def difference(one, other):
    return float((one.astype("float32") - other.astype("float32")).abs().max())


@functools.lru_cache(maxsize=4)
def opened(cls, folder):
    """A pipeline that no test changes."""
    return cls.from_pretrained(folder, device="cpu")


@functools.lru_cache(maxsize=8)
def expected(cls, folder):
    return call(opened(cls, folder))


@CLASS
def test_every_kind_of_folder_gives_the_same_pipeline(folders, cls):
    first = expected(cls, folders[cls]["ours"])
    for kind, folder in folders[cls].items():
        assert find_pipeline(folder) is cls, kind
        pipeline = DiffusionPipeline.from_pretrained(str(folder), device="cpu")
        assert type(pipeline) is cls and difference(call(pipeline), first) == 0, kind


@CLASS
def test_output_of_training_is_a_folder_of_its_pipeline(folders, cls, tmp_path):
    if cls not in (Pose2VideoPipeline, StableAnimatorPipeline):
        pytest.skip("has no training yet")
    source = folders[cls]["original"]
    if cls is Pose2VideoPipeline:
        own = ("denoising_unet.pth", "motion_module.pth", "inference.yaml")  # the others are of another run
        rest = {"reference_unet_path": "reference_unet.pth", "pose_guider_path": "pose_guider.pth"}
        rest |= {"pretrained_vae_path": "sd-vae-ft-mse", "image_encoder_path": "image_encoder"}
        rest |= {"pretrained_base_model_path": "stable-diffusion-v1-5"}
        named = {"denoising_unet_path": own[0], "motion_module_path": own[1], "inference_config": own[2]}
    else:
        own, rest = (), {"svd": "stable-video-diffusion-img2vid-xt", "face_encoder": "Animation/face_encoder.pth"}
        named = {"unet": "unet.pth", "pose_net": "pose_net.pth"}
    for name in named.values():
        shutil.copy(next(source.rglob(name)), tmp_path / name)
    write_trained(tmp_path, {**named, **{key: str(source / name) for key, name in rest.items()}})
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}_moved"))  # what it has itself moves with it
    assert find_pipeline(moved) is cls
    pipeline = cls.from_pretrained(moved, device="cpu")
    assert difference(call(pipeline), expected(cls, folders[cls]["ours"])) == 0


@CLASS
def test_name_that_is_no_folder_is_an_error_and_nothing_goes_online(folders, cls, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name is looked up"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection is opened"))
    (tmp_path / "file").write_text("")
    for name in ("owner/name", "runwayml/stable-diffusion-v1-5", "", 3, None, tmp_path / "file", "a" * 5000, "\0"):
        for asked in (cls, DiffusionPipeline):
            with pytest.raises(InputError) as caught:
                asked.from_pretrained(name)
            assert len(str(caught.value)) < 800
    (tmp_path / "empty").mkdir()
    for asked in (cls, DiffusionPipeline):
        with pytest.raises(MissingFileError):
            asked.from_pretrained(tmp_path / "empty")


def test_folder_of_ppdiffusers_own_pipeline_stays_ppdiffusers(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert find_pipeline(tmp_path) is None


@CLASS
def test_unknown_arguments_are_errors_that_name_the_nearest(folders, cls, tmp_path):
    folder = folders[cls]["ours"]
    pipeline, target = opened(cls, folder), tmp_path / "a"
    attempts = {
        "dytpe": ("dtype", lambda **given: cls.from_pretrained(folder, **given)),
        "memory_": ("memory", lambda **given: DiffusionPipeline.from_pretrained(folder, **given)),
        "engin": ("engine", lambda **given: cls.from_options(config_of(cls, folders), **given)),
        "num_inference_step": ("num_inference_steps", lambda **given: call(pipeline, **given)),
        "safe_serialisation": ("safe_serialization", lambda **given: pipeline.save_pretrained(target, **given)),
        "devise": ("device", lambda **given: pipeline.to(**given)),
    }
    for name, (near, attempt) in attempts.items():
        with pytest.raises(InputError, match=f"'{name}'; did you mean '{near}'"):
            attempt(**{name: 1})
    with pytest.raises(TypeError):  # as Python's own functions
        call(pipeline, nonsense=1)
    assert not target.exists()


def config_of(cls, folders):
    return cls._read_folder(folders[cls]["original"], {})


@CLASS
def test_options_of_a_run_open_the_same_pipeline(folders, cls, tmp_path):
    config = config_of(cls, folders)
    values = {
        item.name: value
        for item in dataclasses.fields(config)
        if (value := getattr(config, item.name)) != item.default and isinstance(value, (str, int, float)) and value
    }
    (tmp_path / "run.yaml").write_text(json.dumps(values))  # which is YAML, too
    pipeline = cls.from_options(str(tmp_path / "run.yaml"), device="cpu")
    assert difference(call(pipeline), expected(cls, folders[cls]["ours"])) == 0
    low = cls.from_options(config, device="cpu", memory="low", paddle_dtype=paddle.bfloat16)
    assert low._releases and low.dtype == paddle.bfloat16
    for wrong in (3, None, ["a.yaml"], {"model": "a"}, object()):
        with pytest.raises(InputError, match="the name of a YAML file or a .* is accepted"):
            cls.from_options(wrong)
    with pytest.raises(MissingFileError):
        cls.from_options(tmp_path / "nowhere.yaml")


@CLASS
def test_seed_stands_for_its_generator(folders, cls):
    pipeline = opened(cls, folders[cls]["ours"])
    first = expected(cls, folders[cls]["ours"])
    assert difference(call(pipeline, generator=paddle.Generator().manual_seed(7)), first) == 0
    assert difference(call(pipeline, generator=np.int64(7)), first) == 0
    assert difference(call(pipeline, generator=8), first) > 1e-3
    for wrong in ("7", 1.5, True, [], -2, 2**63, object(), [None, "a"], paddle.Generator()):
        with pytest.raises(InputError, match="generator"):
            call(pipeline, generator=wrong)
    assert as_generator(None) is None and len(as_generator([1, 2])) == 2
    own = [paddle.base.core.Generator() for _ in range(2)]  # before ppdiffusers is imported, paddle.Generator is this
    drawn = [call(pipeline, generator=each) for each in (own[0].manual_seed(3), own[1].manual_seed(3), own[1])]
    assert difference(drawn[0], drawn[1]) == 0 and difference(drawn[1], drawn[2]) > 1e-3


def kinds_of_picture(image, folder):
    pixels = np.asarray(image)
    image.save(folder / "picture.png")
    tensor = paddle.to_tensor(pixels.transpose(2, 0, 1).copy())
    floats = pixels.astype(np.float64) / 255
    return {
        "PIL": image, "numpy": pixels, "floats": floats, "float32": floats.astype(np.float32), "batch": pixels[None],
        "tensor": tensor, "tensor of floats": tensor.astype("float32") / 255, "tensor batch": tensor.unsqueeze(0),
        "path": folder / "picture.png", "str": str(folder / "picture.png"), "RGBA": image.convert("RGBA"),
        "fortran": np.asfortranarray(pixels), "view": np.repeat(pixels, 2, axis=1)[:, ::2],
    }  # fmt: skip


def test_picture_of_every_kind_is_the_same(tmp_path):
    image = picture(3)
    for kind, value in kinds_of_picture(image, tmp_path).items():
        assert (np.asarray(to_picture(value)) == np.asarray(image)).all(), kind
    grey = np.asarray(image.convert("L"))
    for value in (grey, grey[..., None], grey / 255, paddle.to_tensor(grey)):
        assert (np.asarray(to_picture(value)) == grey[..., None]).all()


def test_video_of_every_kind_is_the_same(tmp_path):
    frames = np.stack([np.asarray(picture(seed)) for seed in range(3)])
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(frames):
        PIL.Image.fromarray(frame).save(tmp_path / "frames" / f"{i}.png")
    tensor = paddle.to_tensor(frames.transpose(0, 3, 1, 2).copy())
    kinds = {
        "list": [PIL.Image.fromarray(frame) for frame in frames], "numpy": frames, "floats": frames / 255,
        "tensor": tensor, "as returned": tensor.transpose([1, 0, 2, 3]).unsqueeze(0), "folder": tmp_path / "frames",
        "paths": sorted((tmp_path / "frames").iterdir()), "generator": (frame for frame in frames),
    }  # fmt: skip
    for kind, value in kinds.items():
        made, count = to_pictures(value)
        assert count == (None if kind == "generator" else 3)
        assert (np.stack([np.asarray(frame) for frame in made]) == frames).all(), kind
    with VideoWriter(tmp_path / "video.mp4", 8, frames.shape[2], frames.shape[1]) as writer:
        for frame in frames:
            writer.write(frame)
    assert to_pictures(str(tmp_path / "video.mp4"))[1] == 3
    one, count = to_pictures(tmp_path / "frames" / "0.png")
    assert count == 1 and len(list(one)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        None, 3, b"picture", [[1, 2], [3, 4]], {"a": 1}, object(), np.zeros((4, 4, 3), np.int64), np.zeros((4, 4, 2)),
        np.full((4, 4, 3), 2.0), np.full((4, 4, 3), np.nan), np.zeros((0, 4, 3)), np.zeros(5), np.zeros((2, 4, 4, 3)),
        np.array("picture"), np.zeros((4, 4, 3), complex), paddle.zeros([4, 4, 3, 3, 3]), paddle.full([3, 4, 4], -1.0),
        "no_such_file.png", Path("/dev/null"), "", "a\0b",
    ],
    ids=lambda value: str(value)[:20].replace("\0", "0"),
)  # fmt: skip
def test_what_is_no_picture_is_refused(folders, wrong):
    with pytest.raises(InputError) as caught:
        to_picture(wrong)
    assert len(str(caught.value)) < 600
    for cls, name in ((Pose2VideoPipeline, "ref_image"), (StableAnimatorPipeline, "image")):
        with pytest.raises(InputError):
            call(opened(cls, folders[cls]["ours"]), **{name: wrong})


@pytest.mark.parametrize("wrong", [None, 3, {}, "no_such.mp4", [3], [np.zeros(3)], b"x", np.zeros((2, 4, 4, 5))])
def test_what_is_no_video_is_refused(folders, wrong):
    for cls in (Pose2VideoPipeline, StableAnimatorPipeline):
        with pytest.raises(InputError):
            call(opened(cls, folders[cls]["ours"]), pose_images=wrong)


def test_start_and_end_pictures_are_those_of_a_video_and_a_mask(folders, tmp_path):
    pipeline = opened(EasyAnimateInpaintPipeline, folders[EasyAnimateInpaintPipeline]["ours"])
    image = picture(3, 48, 32)
    video = np.repeat(np.asarray(image)[None], 8, axis=0)
    mask = np.full((8, 32, 48), 255, np.uint8)
    mask[[0, 7]] = 0
    first = call(pipeline, start_image=image, end_image=image)
    assert difference(first, expected(EasyAnimateInpaintPipeline, folders[EasyAnimateInpaintPipeline]["ours"])) > 1e-4
    tokens = pipeline.embed_picture(image)
    assert difference(call(pipeline, video=video, mask=list(mask), clip_tokens=tokens), first) == 0
    image.save(tmp_path / "picture.png")
    assert difference(call(pipeline, start_image=tmp_path / "picture.png", end_image=image), first) == 0
    for options in (
        {"end_image": image}, {"start_image": image, "video": video}, {"mask": mask}, {"video": video[:3]},
        {"video": video, "mask": mask[:3]}, {"video": []}, {"video": 3}, {"start_image": 3},
    ):  # fmt: skip
        with pytest.raises(InputError):
            call(pipeline, **options)


@pytest.mark.parametrize("cls", CLASSES[2:], ids=lambda cls: cls.__name__)
def test_what_is_no_prompt_is_refused(folders, cls):
    pipeline = opened(cls, folders[cls]["ours"])
    for wrong in (None, 3, [], [3], {"a": 1}, b"text", [None], "\ud800"):
        with pytest.raises(InputError):
            call(pipeline, prompt=wrong)
    for wrong in (3, [3], ["a", "b"], b"text", {"a": 1}):
        with pytest.raises(InputError):
            call(pipeline, negative_prompt=wrong)
    with pytest.raises(InputError):
        call(pipeline, prompt=pipeline.embed("a"), negative_prompt="b")


@CLASS
def test_frames_are_the_output_and_videos_their_older_name(folders, cls):
    pipeline = opened(cls, folders[cls]["ours"])
    inputs = {"num_inference_steps": 1, "return_dict": False}
    assert pipeline.__call__.__wrapped__.__doc__
    if cls is Pose2VideoPipeline:
        output = pipeline(picture(1), POSES, 64, 64, num_inference_steps=1, generator=1)
        assert output.videos is output.frames and output["videos"] is output["frames"] and output[0] is output.frames
        (again,) = pipeline(picture(1), POSES, 64, 64, generator=1, **inputs)
        assert difference(again, output.frames) == 0


DTYPES = ("bf16", "fp16", paddle.float32)


@CLASS
def test_every_dtype_is_one_that_calls_work_in(folders, cls):
    first = expected(cls, folders[cls]["ours"])
    size = float(first.abs().max())
    for memory in ("high", "low"):
        pipeline = cls.from_pretrained(folders[cls]["ours"], device="cpu", memory=memory)
        for dtype in DTYPES if memory == "high" else DTYPES[:1]:
            moved = pipeline.to(dtype)
            assert moved is pipeline and pipeline.device == "cpu"
            assert pipeline.dtype == (paddle.float32 if "32" in str(dtype) else paddle.bfloat16)
            kind = "pd" if dtype == "bf16" else "latent"  # the autoencoder works as well
            made = call(pipeline, output_type=kind)
            assert bool(paddle.isfinite(made).all()) and (kind == "pd" or difference(made, first) < 0.2 * size)


@CLASS
def test_switches_work_after_a_call_and_change_no_numbers(folders, cls):
    first = expected(cls, folders[cls]["ours"])
    pipeline = cls.from_pretrained(folders[cls]["ours"], device="cpu")
    call(pipeline)
    pipeline.enable_model_cpu_offload()
    pipeline.enable_vae_slicing()
    pipeline.use_memory("low")
    assert difference(call(pipeline), first) < 1e-4
    with pytest.raises(InputError):
        pipeline.enable_model_cpu_offload(device="tpu")


@CLASS
def test_calls_do_what_the_rung_says_unless_told_otherwise(folders, cls, monkeypatch):
    pipeline = cls.from_pretrained(folders[cls]["ours"], device="cpu", memory="medium")
    given = dict.fromkeys(cls.rung_options("medium"))
    assert pipeline._by_rung(**given) == tuple(cls.rung_options("medium").values())
    assert pipeline._by_rung(**given)[0] is pipeline._by_rung(sequential_guidance=None)[0] is True
    assert pipeline._by_rung(sequential_guidance=False) == (False,)


@CLASS
def test_interrupt_ends_the_call_after_its_step(folders, cls):
    pipeline, steps = opened(cls, folders[cls]["ours"]), []

    def stop(pipeline, step, timestep, tensors):
        steps.append(step)
        pipeline.interrupt = True

    call(pipeline, num_inference_steps=3, callback_on_step_end=stop)
    assert steps == [0]


def state(pipeline):
    """name -> array of all weights that a pipeline has."""
    found = {}
    for name, part in pipeline.components.items():
        if isinstance(part, paddle.nn.Layer):
            _, model = pipeline.network_to_save(name)
            found |= {f"{name}.{key}": np.array(value.astype("float32")) for key, value in model.state_dict().items()}
    return found


def assert_same_state(one, other):
    assert one.keys() == other.keys() and [name for name in one if not (one[name] == other[name]).all()] == []


WAYS = {
    "at once": lambda pipeline, _: None,
    "after a call": lambda pipeline, _: call(pipeline),
    "moved": lambda pipeline, _: pipeline.to("bf16"),
    "in an engine": lambda pipeline, folder: pipeline.use_engine("onnx", folder),
    "offloaded": lambda pipeline, _: pipeline.enable_model_cpu_offload(),
    "tiled": lambda pipeline, _: pipeline.enable_vae_tiling(),
    "with little memory": lambda pipeline, _: (pipeline.use_memory("low"), call(pipeline)),
}


@CLASS
@pytest.mark.parametrize("way", WAYS)
def test_saved_pipeline_comes_back_with_the_same_bits(folders, cls, way, tmp_path):
    pipeline = cls.from_pretrained(folders[cls]["ours"], device="cpu")
    WAYS[way](pipeline, tmp_path / "cache")
    if way == "at once":
        assert_same_pipeline(pipeline, cls, tmp_path)
        return
    before = state(pipeline)
    pipeline.save_pretrained(tmp_path / "saved")
    dtype = "bf16" if way == "moved" else "fp32"
    again = cls.from_pretrained(tmp_path / "saved", device="cpu", dtype=dtype)
    assert_same_state(state(again), before)
    assert type(again.scheduler) is type(pipeline.scheduler)
    assert {path.name for path in tmp_path.iterdir()} <= {"saved", "cache"}


def assert_same_pipeline(pipeline, cls, folder):
    pipeline.save_pretrained(folder / "saved")
    again = cls.from_pretrained(folder / "saved", device="cpu")
    again.save_pretrained(folder / "saved")  # over itself
    other = DiffusionPipeline.from_pretrained(folder / "saved", device="cpu")
    assert type(other) is cls and difference(call(other), call(pipeline)) == 0


@CLASS
def test_narrowed_weights_are_saved_as_they_are_in_their_files(folders, cls, tmp_path):
    folder, plain = folders[cls]["ours"], state(opened(cls, folders[cls]["ours"]))
    for name, options in {"minimal": {"memory": "minimal"}, "int8": {"weights": "int8"}}.items():
        if name == "int8" and cls not in CLASSES[2:]:
            continue
        pipeline = cls.from_pretrained(folder, device="cpu", **options)
        call(pipeline)
        pipeline.save_pretrained(tmp_path / name)
        assert_same_state(state(cls.from_pretrained(tmp_path / name, device="cpu")), plain)


@CLASS
def test_pipeline_that_cannot_be_saved_leaves_nothing(folders, cls, tmp_path, monkeypatch):
    pipeline = cls.from_pretrained(folders[cls]["ours"], device="cpu")
    scheduler = type(pipeline.scheduler)
    monkeypatch.setattr(scheduler, "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "vae").write_text("kept")
    for name in ("new", "there"):
        with pytest.raises(InputError, match="no space left"):
            pipeline.save_pretrained(tmp_path / name)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["there", "there/vae"]


def test_easy_animate_without_text_encoders_is_saved_and_comes_back(folders, tmp_path):
    source = opened(EasyAnimateInpaintPipeline, folders[EasyAnimateInpaintPipeline]["ours"])
    texts = source.embed("a dog"), source.embed("grass")
    nothing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    for cls in CLASSES[2:]:
        known = {"vae": source.vae, "transformer": source.transformer, "scheduler": source.scheduler}
        pipeline = cls(**nothing, **known)
        pipeline.use_networks({name: source._network(name) for name in cls.network_names})
        pipeline.save_pretrained(tmp_path / cls.__name__)
        again = cls.from_pretrained(tmp_path / cls.__name__, device="cpu")
        if cls is EasyAnimateInpaintPipeline:
            given = {"prompt": texts[0], "negative_prompt": texts[1]}
            assert difference(call(again, **given), call(pipeline, **given)) == 0


def test_conversion_of_the_demo_model_keeps_every_bit(tmp_path):
    for source, target, way in (
        (DEMO, "torch", animate_conversion.to_torch), ("torch", "paddle", animate_conversion.to_paddle),
        ("paddle", "torch again", animate_conversion.to_torch), ("torch again", "again", animate_conversion.to_paddle),
    ):  # fmt: skip
        way(tmp_path / source, tmp_path / target)
    for one, other in (("torch", "torch again"), ("paddle", "again")):
        files, others = (contents(tmp_path / each) for each in (one, other))
        assert files and files == others
    for part in ("vae", "image_encoder", "denoising_unet", "pose_guider", "reference_unet"):
        shipped = DEMO / ("unet" if part == "reference_unet" else part)
        places = shipped, tmp_path / "again" / part
        before, after = (load_tensors(next(path.glob("*.safetensors"))) for path in places)
        assert before.keys() == after.keys()
        assert all(before[name].dtype == after[name].dtype for name in before)
        assert all(bool((before[name] == after[name]).all()) for name in before)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shipped_index_of_the_demo_model_is_that_of_its_options():
    pipeline = Pose2VideoPipeline.from_options(ROOT / "configs" / "inference" / "demo.yaml", **demo_paths())
    both = [made.scheduler.config for made in (pipeline, opened(Pose2VideoPipeline, DEMO))]
    one, other = ({name: value for name, value in config.items() if name[0] != "_"} for config in both)
    assert one == other


def demo_paths():
    config = Pose2VidConfig.load(ROOT / "configs" / "inference" / "demo.yaml")
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    shipped = ("assets", "configs")
    names = [name for name, value in values.items() if isinstance(value, str) and value.startswith(shipped)]
    return {name: str(ROOT / values[name]) for name in names}


def test_options_beside_trained_files_are_read_by_name(tmp_path):
    (tmp_path / TRAINED).write_text("svd: [1]\nunet: x\npose_net: x\nface_encoder: x\n")
    with pytest.raises(InputError, match="svd .* is"):
        StableAnimatorPipeline.from_pretrained(tmp_path)
    (tmp_path / TRAINED).write_text("svd: x\nnonsense: 1\n")
    with pytest.raises(InputError, match="nonsense"):
        StableAnimatorPipeline.from_pretrained(tmp_path)
