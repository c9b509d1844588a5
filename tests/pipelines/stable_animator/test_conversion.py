"""StableAnimator's folders from the original's form to ours and back: nothing lost, changed or guessed."""

import json
import shutil

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.stable_animator import FusionFaceId
from ppdiffusers_ext.models.stable_animator.arcface import IResNet
from ppdiffusers_ext.pipelines.stable_animator.conversion import to_paddle, to_torch
from ppdiffusers_ext.pipelines.stable_animator.faces import load_recognizer
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import load_tensors
from scripts import convert_weights
from scripts.command import run
from tests.pipelines.animate_anyone.test_conversion import assert_same, contents, write
from tests.pipelines.stable_animator.test_pipeline import CONFIG, call
from tests.support.golden import read_manifest
from tests.test_parity import GOLDENS

SVD = "stable-video-diffusion-img2vid-xt"
FILES = {
    f"{SVD}/vae/diffusion_pytorch_model.safetensors": "pipeline_basic/vae",
    f"{SVD}/image_encoder/model.safetensors": "pipeline_basic/image_encoder",
    "Animation/unet.pth": "pipeline_basic/unet",
    "Animation/pose_net.pth": "pipeline_basic/pose_net",
    "Animation/face_encoder.pth": "pipeline_basic/face_encoder",
    "Animation/glintr100_torch.pth": "pipeline_hjb/face_embedding_extractor",
}


@pytest.fixture(scope="module")
def files():
    """file -> name -> array: the goldens' weights as the original publishes such files."""
    found = {file: read_manifest(GOLDENS / "stable_animator" / f"{part}.weights.json") for file, part in FILES.items()}
    recognizer = found["Animation/glintr100_torch.pth"]
    for i, name in enumerate(name for name in recognizer if name.endswith("num_batches_tracked")):
        recognizer[name] = np.array(1000 + i)
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("original")
    for file, arrays in files.items():
        write(folder / file, arrays)
    for name in ("vae", "image_encoder", "unet"):
        (folder / SVD / name).mkdir(exist_ok=True)
        (folder / SVD / name / "config.json").write_text(json.dumps(CONFIG["args"][name]))
    (folder / SVD / "scheduler").mkdir()
    (folder / SVD / "scheduler" / "scheduler_config.json").write_text(json.dumps(CONFIG["scheduler"]))
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory, original):
    folder = tmp_path_factory.mktemp("converted")
    to_paddle(original, folder)
    return folder


def load(folder):
    names = {name: str(folder / "Animation" / f"{name}.pth") for name in ("unet", "pose_net", "face_encoder")}
    pipeline = StableAnimatorPipeline.open(
        StableAnimationConfig(svd=str(folder / SVD), **names), Runtime("cpu", "float32")
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_original_comes_back_bit_by_bit(tmp_path, converted, files):
    reports = {report.part: report for report in to_torch(converted, tmp_path / "back")}
    for file, arrays in files.items():
        assert_same(tmp_path / "back" / file, arrays)
    recognizer = files["Animation/glintr100_torch.pth"]
    assert reports["recognizer"].files == {"Animation/glintr100_torch.pth": len(recognizer)}
    to_paddle(tmp_path / "back", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(converted)
    to_torch(tmp_path / "again", tmp_path / "back again")
    assert contents(tmp_path / "back again") == contents(tmp_path / "back")


def test_converted_folder_is_what_the_original_folder_loads_as(converted, original):
    pipeline = StableAnimatorPipeline.from_pretrained(str(converted))
    pipeline.set_progress_bar_config(disable=True)
    expected = call(load(original), num_inference_steps=2)
    assert float((call(pipeline, num_inference_steps=2) - expected).abs().max()) == 0


def test_converted_recognizer_is_the_same(converted, original):
    faces = paddle.randn([2, 3, 112, 112])
    expected = load_recognizer(original / "Animation" / "glintr100_torch.pth")(faces)
    network = IResNet.from_pretrained(str(converted / "recognizer"))
    network.eval()
    assert float((network(faces) - expected).abs().max()) == 0
    (path,) = (converted / "recognizer").glob("*.safetensors")
    assert float((load_recognizer(path)(faces) - expected).abs().max()) == 0


def test_recognizer_may_be_missing_and_halves_stay(tmp_path, files):
    source = tmp_path / "source"
    for file, arrays in files.items():
        if "glintr100" not in file:
            write(source / file, {name: array.astype(np.float16) for name, array in arrays.items()})
    for name in ("vae", "image_encoder", "unet"):
        (source / SVD / name).mkdir(exist_ok=True)
        (source / SVD / name / "config.json").write_text(json.dumps(CONFIG["args"][name]))
    (source / SVD / "scheduler").mkdir()
    (source / SVD / "scheduler" / "scheduler_config.json").write_text(json.dumps(CONFIG["scheduler"]))
    to_paddle(source, tmp_path / "there")
    assert not (tmp_path / "there" / "recognizer").exists()
    to_torch(tmp_path / "there", tmp_path / "back")
    unet = load_tensors(tmp_path / "back" / "Animation" / "unet.pth")
    expected = files["Animation/unet.pth"]
    for name, tensor in unet.items():
        assert np.array_equal(to_array(tensor), expected[name].astype(np.float16))


def change_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "options",
    [{"norm_num_groups": 16}, {"num_face_tokens": 3}, {"norm_num_groups": 8, "num_face_tokens": 2}, {"num_frames": 5}],
)
def test_options_of_the_unet_come_back(tmp_path, converted, options):
    shutil.copytree(converted, tmp_path / "ours")
    change_json(tmp_path / "ours" / "unet" / "config.json", **options)
    if "num_face_tokens" in options:  # of which the face encoder's weights know; the original has a single number
        with pytest.raises(InputError, match="unet has num_face_tokens [23], for which the original's files have no"):
            to_torch(tmp_path / "ours", tmp_path / "back")
        return
    to_torch(tmp_path / "ours", tmp_path / "back")
    to_paddle(tmp_path / "back", tmp_path / "again")
    config = json.loads((tmp_path / "again" / "unet" / "config.json").read_text())
    assert {name: config[name] for name in options} == options


def test_options_of_the_sampler_that_it_has_not_are_left_out(tmp_path, converted):
    shutil.copytree(converted, tmp_path / "ours")
    path = tmp_path / "ours" / "scheduler" / "scheduler_config.json"
    change_json(path, use_exponential_sigmas=False, final_sigmas_type="zero")
    to_torch(tmp_path / "ours", tmp_path / "back")
    to_paddle(tmp_path / "back", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(converted)


def test_what_the_original_has_no_place_for_is_refused(tmp_path, converted):
    shutil.copytree(converted, tmp_path / "ours")
    change_json(tmp_path / "ours" / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")
    with pytest.raises(
        InputError, match="scheduler holds a DDIMScheduler; the EulerDiscreteScheduler of the original"
    ):
        to_torch(tmp_path / "ours", tmp_path / "back")
    change_json(tmp_path / "ours" / "scheduler" / "scheduler_config.json", _class_name="EulerDiscreteScheduler")
    encoder = FusionFaceId(64, clip_embeddings_dim=64, num_tokens=3)
    encoder.save_pretrained(str(tmp_path / "ours" / "face_encoder"))
    with pytest.raises(
        InputError, match="face_encoder has num_tokens 3, for which the original's files have no place"
    ):
        to_torch(tmp_path / "ours", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_wrong_and_missing_files_are_named(tmp_path, original, files):
    source = tmp_path / "source"
    shutil.copytree(original, source)
    write(source / "Animation" / "pose_net.pth", files["Animation/face_encoder.pth"])
    with pytest.raises(InputError, match="pose_net.pth does not hold the weights of this PoseNet"):
        to_paddle(source, tmp_path / "there")
    (source / "Animation" / "pose_net.pth").unlink()
    with pytest.raises(MissingFileError, match="there is no pose_net in"):
        to_paddle(source, tmp_path / "there")
    with pytest.raises(MissingFileError, match=f"{SVD} does not exist; a folder with the original's files"):
        to_paddle(tmp_path, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_command_converts_both_ways(tmp_path, original, files, capsys):
    def convert(*arguments):
        words = [*map(str, arguments), "--system", "stable_animator"]
        return run(convert_weights.make_parser(), convert_weights.work, words)

    assert convert(original, tmp_path / "there", "--to", "paddle") == 0
    assert convert(tmp_path / "there", tmp_path / "back", "--to", "torch") == 0
    assert f"unet             {len(files['Animation/unet.pth'])} tensors read" in capsys.readouterr().out
    assert convert(original, tmp_path / "x", "--to", "paddle", "--vae", "y") == 2
    assert "--vae cannot be used with --system stable_animator" in capsys.readouterr().err
    assert load_file(tmp_path / "there" / "unet" / "diffusion_paddle_model.safetensors")
