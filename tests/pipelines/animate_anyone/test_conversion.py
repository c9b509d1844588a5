"""Folders of checkpoints from the original's form to ours and back: nothing lost, nothing changed, nothing guessed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import safetensors.numpy
import yaml

from ppdiffusers_ext.data.records import RECORDS
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone.conversion import _defaults, describe_inference, to_paddle, to_torch
from ppdiffusers_ext.pipelines.animate_anyone.loading import read_inference_config
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.conversion import describe_own, plain
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.pipelines.schedulers import _classes, make_scheduler
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.folders import read_config
from ppdiffusers_ext.weights.loading import load_tensors, read_checkpoint
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from scripts import convert_weights
from scripts.command import run
from tests.conftest import RELEASED_SCHEDULE
from tests.support.golden import read_manifest

WEIGHTS = Path(__file__).parents[2] / "goldens" / "animate_anyone" / "_weights"
ORIGINAL_FILES = {
    "denoising_unet.pth": "denoising_unet",
    "motion_module.pth": "denoising_unet",
    "reference_unet.pth": "reference_unet",
    "pose_guider.pth": "pose_guider",
    "sd-vae-ft-mse/diffusion_pytorch_model.safetensors": "vae",
    "image_encoder/pytorch_model.bin": "image_encoder",
}


def write(path, arrays):
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix == ".safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    else:
        write_torch(path, arrays)


def original_tensors(cast=lambda array: array):
    """file -> name -> array: the goldens' weights as the original publishes such files."""
    files = {}
    for file, part in ORIGINAL_FILES.items():
        tensors = read_manifest(WEIGHTS / f"{part}.weights.json")
        if part == "denoising_unet":
            is_motion = file == "motion_module.pth"
            tensors = {name: array for name, array in tensors.items() if ("motion_modules." in name) == is_motion}
        files[file] = {name: cast(array) for name, array in tensors.items()}
    return files


def write_original(folder, files):
    """A folder in the original's form; returns the path of its inference configuration."""
    configs = {name: config["kwargs"] for name, config in json.loads((WEIGHTS / "configs.json").read_text()).items()}
    for file, arrays in files.items():
        write(folder / file, arrays)
    for name, target in {
        "reference_unet": "stable-diffusion-v1-5/unet",
        "vae": "sd-vae-ft-mse",
        "image_encoder": "image_encoder",
    }.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / "config.json").write_text(json.dumps(configs[name]))
    additional = {k: v for k, v in configs["denoising_unet"].items() if k not in configs["reference_unet"]}
    inference = {"unet_additional_kwargs": additional, "noise_scheduler_kwargs": RELEASED_SCHEDULE}
    (folder / "config.yaml").write_text(yaml.safe_dump(inference))
    return folder / "config.yaml"


def assert_same(path, expected):
    """The file has these arrays, of these dtypes, bit by bit, and no others."""
    tensors = {name: to_array(tensor) for name, tensor in load_tensors(path).items()}
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)


@pytest.fixture(scope="module")
def files():
    return original_tensors()


@pytest.fixture(scope="module")
def original(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("original")
    write_original(folder, files)
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory, original):
    """(folder for from_pretrained, reports)"""
    folder = tmp_path_factory.mktemp("converted") / "new" / "folder"
    return folder, to_paddle(original, folder, original / "config.yaml")


def contents(folder):
    """path -> bytes of every file below a folder but the record; of weights names, kinds and bytes, in any order."""
    found = {}
    for path in sorted(set(folder.rglob("*")) - {folder / RECORDS}):
        if path.is_file() and path.suffix in (".safetensors", ".pth", ".bin"):
            arrays = {name: to_array(x) for name, x in load_tensors(path).items()}
            found[str(path.relative_to(folder))] = {n: (str(x.dtype), x.shape, x.tobytes()) for n, x in arrays.items()}
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def back(tmp_path_factory, converted):
    """(folder in the original's form again, reports)"""
    folder = tmp_path_factory.mktemp("back") / "folder"
    return folder, to_torch(converted[0], folder)


# Both directions, on the goldens' weights


@pytest.mark.parametrize("file", ORIGINAL_FILES)
def test_original_comes_back_bit_by_bit(back, files, file):
    assert_same(back[0] / file, files[file])


@pytest.mark.parametrize("part", ["denoising_unet", "reference_unet", "pose_guider", "vae", "image_encoder"])
def test_our_files_come_back_byte_by_byte(tmp_path, converted, back, part):
    to_paddle(back[0], tmp_path / "again", back[0] / "inference.yaml")
    (path,) = (converted[0] / part).glob("*.safetensors")
    again = tmp_path / "again" / part / path.name
    assert_same(again, {name: to_array(tensor) for name, tensor in load_tensors(path).items()})
    configs = [
        json.loads((folder / part / "config.json").read_text()) for folder in (converted[0], tmp_path / "again")
    ]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_comes_back_bit_by_bit(tmp_path, dtype):
    files = original_tensors(lambda array: to_array(paddle.to_tensor(array).astype(dtype)))
    config = write_original(tmp_path / "original", files)
    to_paddle(tmp_path / "original", tmp_path / "converted", config)
    to_torch(tmp_path / "converted", tmp_path / "back")
    for file, expected in files.items():
        assert_same(tmp_path / "back" / file, expected)


def test_converted_folder_is_what_the_original_folder_loads_as(converted, original, reference_image, poses):
    folder = original
    config = Pose2VidConfig(
        pretrained_base_model_path=str(folder / "stable-diffusion-v1-5"),
        pretrained_vae_path=str(folder / "sd-vae-ft-mse"),
        image_encoder_path=str(folder / "image_encoder"),
        denoising_unet_path=str(folder / "denoising_unet.pth"),
        motion_module_path=str(folder / "motion_module.pth"),
        reference_unet_path=str(folder / "reference_unet.pth"),
        pose_guider_path=str(folder / "pose_guider.pth"),
        inference_config=str(folder / "config.yaml"),
    )
    loaded = [
        Pose2VideoPipeline.open(config, Runtime.choose("cpu", "fp32")),
        Pose2VideoPipeline.from_pretrained(str(converted[0])),
    ]
    for name in ("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"):
        states = [getattr(pipeline, name).state_dict() for pipeline in loaded]
        assert list(states[0]) == list(states[1])
        assert [key for key in states[0] if not bool((states[0][key] == states[1][key]).all())] == []
    videos = []
    for pipeline in loaded:
        pipeline.set_progress_bar_config(disable=True)
        generator = paddle.Generator().manual_seed(0)
        videos.append(
            pipeline(
                reference_image, poses[:2], 64, 72, 2, num_inference_steps=2, generator=generator, output_type="np"
            ).videos
        )
    # ppdiffusers rescales the betas in fp32 when it loads the scheduler, we in fp64 when we make it.
    np.testing.assert_allclose(videos[0], videos[1], atol=1e-3)


def test_report_counts_every_tensor(converted, back, files):
    for folder, reports in (converted, back):
        for report in reports:
            assert report.read == sum(report.files.values())
            assert report.left_out == []
            for file, count in report.files.items():
                assert len(load_tensors(folder / file)) == count
    read = {report.part: report.read for report in converted[1]}
    for part in read:
        assert read[part] == sum(len(files[file]) for file in ORIGINAL_FILES if ORIGINAL_FILES[file] == part)


# Names and layouts of other files


def change(original, folder, file, arrays):
    """A copy of the original's folder with other tensors in one file."""
    shutil.copytree(original, folder)
    (folder / file).unlink()
    write(folder / file, arrays)
    return folder


def test_old_names_of_the_vaes_attention_come_back(tmp_path, original, files):
    file = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    old = {}
    for name, array in files[file].items():
        for new, replacement in names.items():
            name = name.replace(new, replacement)
        old[name] = array
    assert set(old) != set(files[file])
    changed = change(original, tmp_path / "original", file, old)
    to_paddle(changed, tmp_path / "converted", changed / "config.yaml")
    to_torch(tmp_path / "converted", tmp_path / "back")
    assert_same(tmp_path / "back" / file, old)


def test_table_of_positions_is_left_out_and_comes_back(tmp_path, original, files):
    file = "image_encoder/pytorch_model.bin"
    rows = files[file]["vision_model.embeddings.position_embedding.weight"].shape[0]
    table = {"vision_model.embeddings.position_ids": np.arange(rows, dtype=np.int64)[np.newaxis]}
    changed = change(original, tmp_path / "original", file, {**table, **files[file]})
    reports = to_paddle(changed, tmp_path / "converted", changed / "config.yaml")
    assert [name for report in reports for name in report.left_out] == list(table)
    to_torch(tmp_path / "converted", tmp_path / "back")
    assert_same(tmp_path / "back" / file, {**table, **files[file]})


def test_prefixes_of_a_trainer_come_back(tmp_path, original, files):
    prefixed = {f"module.{name}": array for name, array in files["pose_guider.pth"].items()}
    changed = change(original, tmp_path / "original", "pose_guider.pth", prefixed)
    to_paddle(changed, tmp_path / "converted", changed / "config.yaml")
    to_torch(tmp_path / "converted", tmp_path / "back")
    assert_same(tmp_path / "back" / "pose_guider.pth", prefixed)


def test_paddles_files_convert_as_well(tmp_path, original, converted):
    folder = tmp_path / "AnimateAnyone_PD"
    shutil.copytree(original, folder)
    for name in ("denoising_unet", "reference_unet", "pose_guider"):
        (folder / f"{name}.pth").unlink()
        (path,) = (converted[0] / name).glob("*.safetensors")
        state = load_tensors(path)
        motion = {key: state.pop(key) for key in list(state) if "motion_modules." in key}
        paddle.save(state, str(folder / f"{name}.pdparams"))
        if motion:
            (folder / "motion_module.pth").unlink()
            paddle.save(motion, str(folder / "motion_module_stage2.pdparams"))
    to_paddle(folder, tmp_path / "again", folder / "config.yaml")
    for name in ("denoising_unet", "reference_unet", "pose_guider"):
        (path,) = (converted[0] / name).glob("*.safetensors")
        expected = {key: to_array(tensor) for key, tensor in load_tensors(path).items()}
        assert_same(tmp_path / "again" / name / path.name, expected)


# Other dtypes


@pytest.mark.parametrize(("dtype", "expected"), [("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")])
def test_dtype_is_converted(tmp_path, original, converted, dtype, expected):
    to_paddle(original, tmp_path / "converted", original / "config.yaml", dtype=dtype)
    for name in ("denoising_unet", "image_encoder"):
        (path,) = (tmp_path / "converted" / name).glob("*.safetensors")
        tensors = load_tensors(path)
        assert {str(tensor.dtype) for tensor in tensors.values()} == {f"paddle.{expected}"}
        full = load_tensors(converted[0] / name / path.name)
        assert [key for key in full if not bool((full[key].astype(expected) == tensors[key]).all())] == []


def test_number_that_is_too_large_for_the_dtype_is_named(tmp_path, original, files):
    large = dict(files["pose_guider.pth"], **{"conv_in.bias": np.full([16], 1e6, np.float32)})
    changed = change(original, tmp_path / "original", "pose_guider.pth", large)
    with pytest.raises(InputError, match=r"pose_guider.pth: conv_in.bias has numbers too large for float16"):
        to_paddle(changed, tmp_path / "converted", changed / "config.yaml", dtype="fp16")
    assert not (tmp_path / "converted").exists()


# What is refused, and that nothing is left behind


def test_tensor_that_is_not_finite_is_named(tmp_path, original, files):
    wrong = dict(files["reference_unet.pth"], **{"conv_in.bias": np.full([32], np.nan, np.float32)})
    changed = change(original, tmp_path / "original", "reference_unet.pth", wrong)
    with pytest.raises(InputError, match=r"reference_unet.pth: conv_in.bias holds values that are not finite"):
        to_paddle(changed, tmp_path / "converted", changed / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


@pytest.mark.parametrize("how", ["missing", "unexpected", "of another shape"])
@pytest.mark.parametrize("file", ["motion_module.pth", "image_encoder/pytorch_model.bin"])
def test_one_tensor_that_does_not_fit_is_named(tmp_path, original, files, file, how):
    tensors = dict(files[file])
    name = next(iter(tensors))
    if how == "missing":
        del tensors[name]
    elif how == "unexpected":
        tensors["other.weight"] = np.zeros(3, np.float32)
    else:
        tensors[name] = tensors[name][..., :-1]
    changed = change(original, tmp_path / "original", file, tensors)
    with pytest.raises(InputError, match=f"1 tensor {how}"):
        to_paddle(changed, tmp_path / "converted", changed / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("reference_unet.pth", "there is no reference_unet in"),
        ("sd-vae-ft-mse", "--vae names where it is"),
        ("image_encoder", "--image-encoder names where it is"),
        ("stable-diffusion-v1-5", "--base-model names where it is"),
    ],
)
def test_missing_file_is_named_with_the_option_for_it(tmp_path, original, missing, message):
    folder = tmp_path / "original"
    shutil.copytree(original, folder)
    (folder / missing).unlink() if (folder / missing).is_file() else shutil.rmtree(folder / missing)
    with pytest.raises(MissingFileError, match=message):
        to_paddle(folder, tmp_path / "converted", folder / "config.yaml")


def test_parts_may_lie_elsewhere(tmp_path, original, converted):
    folder = tmp_path / "original"
    shutil.copytree(original, folder)
    for name in ("sd-vae-ft-mse", "image_encoder", "stable-diffusion-v1-5"):
        shutil.move(folder / name, tmp_path / name)
    places = {"vae": "sd-vae-ft-mse", "image_encoder": "image_encoder", "base_model": "stable-diffusion-v1-5"}
    places = {name: tmp_path / place for name, place in places.items()}
    reports = to_paddle(folder, tmp_path / "converted", folder / "config.yaml", **places)
    assert [report.files for report in reports] == [report.files for report in converted[1]]


def test_two_files_for_one_part_are_refused(tmp_path, original):
    shutil.copytree(original, tmp_path / "original")
    shutil.copy(original / "pose_guider.pth", tmp_path / "original" / "pose_guider.bin")
    with pytest.raises(InputError, match="pose_guider.pth and .*pose_guider.bin are both there"):
        to_paddle(tmp_path / "original", tmp_path / "converted", original / "config.yaml")


@pytest.mark.parametrize("direction", [lambda source, target: to_paddle(source, target, "a.yaml"), to_torch])
def test_missing_source_is_named(tmp_path, direction):
    with pytest.raises(MissingFileError, match="nothing"):
        direction(tmp_path / "nothing", tmp_path / "target")


def test_folder_that_is_not_empty_is_not_touched(tmp_path, converted):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="a new or an empty folder is accepted"):
        to_torch(converted[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_folder_of_another_pipeline_is_refused(tmp_path, converted):
    shutil.copytree(converted[0], tmp_path / "other")
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match="holds a 'StableDiffusionPipeline'; a Pose2VideoPipeline is accepted"):
        to_torch(tmp_path / "other", tmp_path / "back")


@pytest.mark.parametrize("notes", ["{", "[]", '{"names": 3, "tables": []}', '{"names": {}}'])
def test_notes_that_cannot_be_read_are_refused(tmp_path, converted, notes):
    shutil.copytree(converted[0], tmp_path / "changed")
    (path,) = (tmp_path / "changed" / "vae").glob("*.safetensors")
    arrays = {name: to_array(tensor) for name, tensor in load_tensors(path).items()}
    safetensors.numpy.save_file(arrays, path, {"format": "pd", "original": notes})
    with pytest.raises(InputError, match="notes of the original's names that cannot be read"):
        to_torch(tmp_path / "changed", tmp_path / "back")


def test_folder_that_a_pipeline_saved_converts_without_notes(tmp_path, make_pipeline):
    # The original has one shape of pose guider: ours is told in the YAML file, as a sampler of another kind is.
    guider = PoseGuider(conditioning_embedding_channels=32, block_out_channels=(16, 32))
    pipeline = make_pipeline("DPM-Solver++", pose_guider=guider)
    pipeline.save_pretrained(str(tmp_path / "saved"))
    to_torch(tmp_path / "saved", tmp_path / "original")
    names = set()
    for file in ("denoising_unet.pth", "motion_module.pth"):
        names |= set(load_tensors(tmp_path / "original" / file))
    assert names == set(pipeline.denoising_unet.state_dict())
    assert read_checkpoint(tmp_path / "original" / "denoising_unet.pth").layout == "torch"
    to_paddle(tmp_path / "original", tmp_path / "again")
    loaded = Pose2VideoPipeline.from_pretrained(str(tmp_path / "again"))
    for name in ("denoising_unet", "reference_unet", "pose_guider", "vae", "image_encoder"):
        part, own = getattr(loaded, name), getattr(pipeline, name)
        assert type(part) is type(own)
        state, expected = part.state_dict(), own.state_dict()
        assert [key for key in expected if not bool((state[key] == expected[key]).all())] == []
    assert type(loaded.scheduler) is type(pipeline.scheduler)
    assert plain(loaded.scheduler.config) == plain(pipeline.scheduler.config)
    to_torch(tmp_path / "again", tmp_path / "original again")
    folders = [contents(tmp_path / name) for name in ("original", "original again")]
    for files in folders:
        del files["image_encoder/config.json"]  # which paddlenlp writes without what is its default
    assert folders[0] == folders[1]


# The YAML file that goes with the original's files


def inference_of(tmp_path, models, scheduler):
    """What the way back reads of networks and sampler: (sampler, options of the UNet, of the guider)."""
    scheduler.save_pretrained(str(tmp_path / "scheduler"))
    options = read_config(tmp_path / "scheduler" / "scheduler_config.json", may_be_infinite=True)
    (tmp_path / "inference.yaml").write_text(yaml.safe_dump(describe_inference(models, options)))
    inference = read_inference_config(tmp_path / "inference.yaml")
    again = make_scheduler(inference["sampler"], inference["noise_scheduler_kwargs"])
    return again, inference["unet_additional_kwargs"], inference["pose_guider_kwargs"]


@pytest.fixture(scope="module")
def models(converted):
    parts = {"reference_unet": ReferenceUNet, "denoising_unet": DenoisingUNet3D, "pose_guider": PoseGuider}
    return {name: describe_own(converted[0] / name, cls).model for name, cls in parts.items()}


@pytest.mark.parametrize("name", sorted(set(_classes())))
@pytest.mark.parametrize(
    "options",
    [RELEASED_SCHEDULE, {}, {"beta_schedule": "scaled_linear", "beta_end": 0.02}, {"prediction_type": "sample"}],
)
def test_every_sampler_comes_back(tmp_path, models, name, options):
    try:
        scheduler = make_scheduler(name, options)
    except InputError:
        pytest.skip("a sampler that this schedule cannot be made for")
    again, _, _ = inference_of(tmp_path, models, scheduler)
    assert type(again) is type(scheduler)
    assert plain(again.config) == plain(scheduler.config)


def test_options_of_the_sampler_that_no_class_knows_are_left_out(tmp_path, models):
    make_scheduler("DDIM", RELEASED_SCHEDULE).save_pretrained(str(tmp_path / "scheduler"))
    options = {**read_config(tmp_path / "scheduler" / "scheduler_config.json"), "skip_prk_steps": True, "new": [1]}
    assert not {"skip_prk_steps", "new"} & describe_inference(models, options)["noise_scheduler_kwargs"].keys()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"norm_eps": 1e-6},
        {"act_fn": "gelu", "norm_num_groups": 16},
        {"use_motion_module": False, "motion_module_kwargs": None, "motion_module_type": None},
        {"motion_module_resolutions": (1, 2)},
        {"attention_head_dim": 4, "center_input_sample": True},
    ],
)
def test_options_of_the_denoising_unet_come_back_whatever_the_reference_unet_has(tmp_path, models, changed):
    known = known_options(DenoisingUNet3D, {**models["denoising_unet"].config})
    changed = {name: value for name, value in changed.items() if name in known}
    expected = {**known, **changed}
    stub = SimpleNamespace(config=expected)
    _, additional, _ = inference_of(tmp_path, {**models, "denoising_unet": stub}, make_scheduler("DDIM"))
    base = known_options(DenoisingUNet3D, plain(models["reference_unet"].config))
    assert plain({**_defaults(DenoisingUNet3D), **base, **additional}) == plain(expected)


def test_command_takes_the_yaml_file_that_it_wrote(tmp_path, converted, back):
    arguments = [str(back[0]), str(tmp_path / "again"), "--system", "animate_anyone", "--to", "paddle"]
    assert run(convert_weights.make_parser(), convert_weights.work, arguments) == 0
    assert contents(tmp_path / "again") == contents(converted[0])
