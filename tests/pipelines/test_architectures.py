"""Architectures of the published checkpoints: they have as many bytes as the published files, and plans use them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.networks import NETWORKS
from ppdiffusers_ext.models.stable_animator.arcface import IResNet
from ppdiffusers_ext.pipelines import architectures as module
from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts as describe_animate_anyone
from ppdiffusers_ext.pipelines.animate_anyone.memory import plan_memory as plan_animate_anyone
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.architectures import FOLDER, architectures, planning_reader
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts as describe_easy_animate
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, models_of
from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.pipelines.registry import SYSTEMS as RUNS
from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts as describe_stable_animator
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.assignment import create

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "inference"
CPU = Runtime("cpu", "float32")
SYSTEMS = ("animate_anyone", "stable_animator", "easy_animate")
GIB = 2**30  # what the tables of EasyAnimate's README call GB
DESCRIBE = {
    "animate_anyone": (Pose2VidConfig, describe_animate_anyone),
    "stable_animator": (StableAnimationConfig, describe_stable_animator),
    "easy_animate": (EasyAnimateConfig, describe_easy_animate),
}


def networks(system, file):
    """name -> network, of a configuration whose checkpoints are nowhere."""
    kind, describe = DESCRIBE[system]
    return models_of(describe(kind.load(str(CONFIGS / file)), read=planning_reader(system)))


@pytest.fixture(scope="module")
def published():
    """(system, name) -> network."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for system, file in (("animate_anyone", "animation.yaml"), ("stable_animator", "stable_animator.yaml")):
            found |= {(system, name): model for name, model in networks(system, file).items()}
        for version in ("v1", "v2_512", "v3_512", "v4"):
            found |= {
                (version, name): model
                for name, model in networks("easy_animate", f"easy_animate/{version}.yaml").items()
            }
    found["stable_animator", "recognizer"] = create(IResNet)
    found |= {("metrics", name): create(NETWORKS[name].make) for name in ("inception_fid", "i3d_fvd")}
    return found


def count(model, part=lambda name: True):
    return sum(math.prod(tensor.shape) for name, tensor in model.state_dict().items() if part(name))


def is_motion(name):
    return "motion_modules." in name


def is_spatial(name):
    return not is_motion(name)


def is_of_svd(name):
    return "processor." not in name


AA, SA, SINGLE, HALF = "animate_anyone", "stable_animator", 4, 2
# File in the registry -> (system, network), which of its tensors it has, and bytes of each number.
FILES = {
    "tsaiyue/AnimateAnyone_PD/denoising_unet.pdparams": ((AA, "denoising_unet"), is_spatial, SINGLE),
    "tsaiyue/AnimateAnyone_PD/denoising_unet_initial4stage1.pdparams": ((AA, "denoising_unet"), is_spatial, SINGLE),
    "tsaiyue/AnimateAnyone_PD/reference_unet.pdparams": ((AA, "reference_unet"), None, SINGLE),
    "tsaiyue/AnimateAnyone_PD/pose_guider.pdparams": ((AA, "pose_guider"), None, SINGLE),
    "tsaiyue/AnimateAnyone_PD/motion_module_stage2.pdparams": ((AA, "denoising_unet"), is_motion, HALF),
    "tsaiyue/AnimateAnyone_PD/animatediff_mm_sd_v15_v2.pdparams": ((AA, "denoising_unet"), is_motion, SINGLE),
    "patrolli/AnimateAnyone/denoising_unet.pth": ((AA, "denoising_unet"), is_spatial, SINGLE),
    "patrolli/AnimateAnyone/reference_unet.pth": ((AA, "reference_unet"), None, SINGLE),
    "patrolli/AnimateAnyone/pose_guider.pth": ((AA, "pose_guider"), None, SINGLE),
    "patrolli/AnimateAnyone/motion_module.pth": ((AA, "denoising_unet"), is_motion, SINGLE),
    "stable-diffusion-v1-5/unet/diffusion_pytorch_model.safetensors": ((AA, "reference_unet"), None, SINGLE),
    "sd-image-variations-diffusers/unet/diffusion_pytorch_model.bin": ((AA, "reference_unet"), None, SINGLE),
    "animatediff/mm_sd_v15_v2.ckpt": ((AA, "denoising_unet"), is_motion, SINGLE),
    "sd-vae-ft-mse/diffusion_pytorch_model.safetensors": ((AA, "vae"), None, SINGLE),
    "image_encoder/pytorch_model.bin": ((AA, "image_encoder"), None, SINGLE),
    "stable_animator/Animation/unet.pth": ((SA, "unet"), None, SINGLE),
    "stable_animator/Animation/pose_net.pth": ((SA, "pose_net"), None, SINGLE),
    "stable_animator/Animation/face_encoder.pth": ((SA, "face_encoder"), None, SINGLE),
    "stable_animator/Animation/glintr100_torch.pth": ((SA, "recognizer"), None, SINGLE),
    "metrics/pt_inception-2015-12-05-6726825d.pth": (("metrics", "inception_fid"), None, SINGLE),
    "metrics/i3d_pretrained_400.pt": (("metrics", "i3d_fvd"), None, SINGLE),
    "stable_animator/stable-video-diffusion-img2vid-xt/image_encoder/model.safetensors": (
        (SA, "image_encoder"),
        None,
        HALF,
    ),
    "stable_animator/stable-video-diffusion-img2vid-xt/vae/diffusion_pytorch_model.safetensors": (
        (SA, "vae"),
        None,
        HALF,
    ),
    "stable_animator/stable-video-diffusion-img2vid-xt/unet/diffusion_pytorch_model.safetensors": (
        (SA, "unet"),
        is_of_svd,
        HALF,
    ),
}
# Of networks that are no part of what is planned.
OTHERS = {
    "tsaiyue/AnimateAnyone_PD/control_v11p_sd15_openpose.pdparams",
    "DWPose/yolox_l.onnx",
    "DWPose/dw-ll_ucoco_384.onnx",
    "MediaPipePose/pose_landmark_heavy.onnx",
    "stable_animator/facexlib/detection_Resnet50_Final.pth",
    "Motion_Module/easyanimate_v1_mm.safetensors",  # as of the archives below
    "LPIPS/vgg.pth",
    "LPIPS/vgg16-397923af.pth",
    "metrics/lpips_alex.pth",
    "metrics/alexnet-owt-7be5be79.pth",  # with a classifier
    "metrics/resnet-50-kinetics.pth",  # with the state of its optimiser
    # Of what rates clips of training sets.
    "clip-vit-large-patch14-336/merges.txt",
    "clip-vit-large-patch14-336/pytorch_model.bin",
    "siglip-so400m-patch14-384/model.safetensors",
    "aesthetic-predictor-v2-5/aesthetic_predictor_v2_5.pth",
}


def registered():
    """Path -> bytes of each weight file that the registry knows."""
    files = {f"{entry.folder}/{file.path}": file for entry in PUBLISHED for file in entry.files if not file.is_archive}
    return {path: file.size or file.about for path, file in files.items() if not path.endswith(".json")}


@pytest.mark.parametrize("path", FILES)
def test_a_published_file_has_the_bytes_of_its_architecture(published, path):
    network, part, number = FILES[path]
    assert number * count(published[network], part or bool) == pytest.approx(registered()[path], rel=0.01)


def test_all_published_files_are_looked_at():
    assert {*FILES, *OTHERS} == set(registered())


# Of EasyAnimate no file but archives is known, and those by what the original's README rounds them to. The bytes of
# each number, below, are those that fit. Files of motion modules have two tables of 4,096 positions in each of 28
# blocks as well, which are computed here, and image encoders come with CLIP's text encoder.
TABLES = 2 * 28 * 4096 * 1152
WHOLE_CLIP = 427_616_513  # parameters, those of texts among them
ARCHIVES = {
    "v1": (11.4, {"transformer": 4, "text_encoder": 2, "vae": 4}, 0, 0.01),
    "v2_512": (16.2, {"transformer": 4, "text_encoder": 2, "vae": 4}, TABLES, 0.01),
    "v3_512": (18.2, {"transformer": 4, "text_encoder": 2, "vae": 4}, TABLES + WHOLE_CLIP, 0.01),
    "v4": (14.0, {"transformer": 2, "text_encoder": 4, "text_encoder_2": 4, "vae": 4}, WHOLE_CLIP, 0.03),
}


@pytest.mark.parametrize("version", ARCHIVES)
def test_an_archive_unpacked_has_the_bytes_of_its_architectures(published, version):
    size, numbers, more, tolerance = ARCHIVES[version]
    parts = {name: number * count(published[version, name]) for name, number in numbers.items()}
    if version == "v1":  # motion modules are a file of their own
        parts["transformer"] -= 4 * count(published["v1", "transformer"], lambda name: "attn_temporal." in name)
    assert sum(parts.values()) + 4 * more == pytest.approx(size * GIB, rel=tolerance)


def test_sizes_of_downloads_are_in_the_unit_of_the_architectures():
    sizes = {entry.name: file.about for entry in PUBLISHED for file in entry.files if file.is_archive}
    for name, version in (("PixArt-XL-2-512x512", "v1"), ("EasyAnimateV3-XL-2-InP-512x512", "v3_512")):
        assert sizes[name] == pytest.approx(ARCHIVES[version][0] * GIB, rel=1e-6)  # tar does not compress


def test_motion_modules_of_v1_have_the_bytes_of_their_file(published):
    number = count(published["v1", "transformer"], lambda name: "attn_temporal." in name) + TABLES
    assert 4 * number == pytest.approx(4.1 * GIB, rel=0.02)


def test_no_network_takes_memory(published):
    tensors = [tensor for model in published.values() for tensor in model.state_dict().values()]
    assert sum(4 * math.prod(tensor.shape) for tensor in tensors if tensor._is_initialized()) < 1e7  # tables


CONFIG_FILES = [
    ("animate_anyone", "animation.yaml"),
    ("stable_animator", "stable_animator.yaml"),
    *(("easy_animate", f"easy_animate/{path.name}") for path in sorted((CONFIGS / "easy_animate").glob("v*.yaml"))),
]


@pytest.mark.parametrize("system, file", CONFIG_FILES)
def test_every_configuration_is_planned_before_a_download(system, file, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    values = yaml.safe_load((CONFIGS / file).read_text())
    moved = {key: str(value).replace("./pretrained_weights", str(tmp_path)) for key, value in values.items()}
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({**values, **{k: v for k, v in moved.items() if str(tmp_path) in v}})
    )
    plans, frames = RUNS[system](DESCRIBE[system][0].load(str(tmp_path / "c.yaml"))).plan(CPU)
    assert frames and all(1e9 < plan.host < 1e12 for plan in plans)


@pytest.mark.parametrize("system", SYSTEMS)
def test_files_that_are_there_are_read_instead(system, tmp_path, caplog):
    caplog.set_level("INFO", logger="ppdiffusers_ext")
    read = planning_reader(system)
    for name, files in architectures(system).items():
        for file, options in files.items():
            folder = (tmp_path / "elsewhere" / name / file).parent
            assert read(folder) == read(folder / "config.json") == options
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps({**options, "own": True}))
            assert read(folder) == read(folder / "config.json") == {**options, "own": True}
        assert sum(f"is the published {name}" in line for line in caplog.messages) == 1


def test_what_is_returned_may_be_changed():
    read = planning_reader("stable_animator")
    read("stable-video-diffusion-img2vid-xt/unet")["block_out_channels"].append(1)
    assert read("stable-video-diffusion-img2vid-xt/unet")["block_out_channels"] == [320, 640, 1280, 1280]


@pytest.mark.parametrize(
    "path",
    [
        "stable-video-diffusion-img2vid-xt",
        "stable-video-diffusion-img2vid-xt/text_encoder",
        "my-stable-video-diffusion-img2vid-xt/unet",
        "sd-vae-ft-mse",  # of another system
        "unet",
        "",
        ".",
        "..",
        "stable-video-diffusion-img2vid-xt/unet/config.json/config.json",
        "stable-video-diffusion-img2vid-xt/unet/weights.json",
    ],
)
def test_what_is_not_published_is_missing(path, tmp_path):
    with pytest.raises(MissingFileError, match="a published one: stable-video-diffusion-img2vid-xt"):
        planning_reader("stable_animator")(tmp_path / path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_a_damaged_file_is_not_replaced_by_what_is_published(content, tmp_path):
    folder = tmp_path / "stable-video-diffusion-img2vid-xt" / "unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match="config.json"):
        planning_reader("stable_animator")(folder)


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    vae, unet = (tmp_path / "stable-video-diffusion-img2vid-xt" / name for name in ("vae", "unet"))
    vae.mkdir(parents=True)
    (vae / "config.json").symlink_to(tmp_path / "unmounted")
    unet.symlink_to(tmp_path / "unmounted")
    for path in (vae, vae / "config.json", unet):
        with pytest.raises(MissingFileError, match="where its link leads"):
            planning_reader("stable_animator")(path)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", 3, None, "x" * 300])
def test_what_is_no_file_name_is_refused(path):
    with pytest.raises(InputError):
        planning_reader("stable_animator")(path)


def test_plans_of_architectures_and_of_files_are_equal(tmp_path, monkeypatch):
    """The demo model as if it were published: planned without its folder, and from it."""
    monkeypatch.chdir(ROOT)
    config = Pose2VidConfig.load(str(CONFIGS / "demo.yaml"))
    keys = {
        "pretrained_base_model_path": "unet/config.json",
        "pretrained_vae_path": "config.json",
        "image_encoder_path": "config.json",
    }
    (tmp_path / "animate_anyone").mkdir()
    for key, file in keys.items():
        folder = Path(getattr(config, key))
        files = {file: json.loads((folder / file).read_text())}
        values = {"checkpoints": [f"published_{key}"], "configurations": files}
        (tmp_path / "animate_anyone" / f"{key}.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "architectures", module.architectures.__wrapped__)
    monkeypatch.setattr("ppdiffusers_ext.pipelines.animate_anyone.memory.resident_memory", lambda: 0)
    elsewhere = replace(config, **{key: f"nowhere/published_{key}" for key in keys})
    plans = [
        plan_animate_anyone(models_of(describe_animate_anyone(one, read=planning_reader("animate_anyone"))), one, CPU)
        for one in (config, elsewhere)
    ]
    assert plans[0] == plans[1] != []


def test_every_file_of_architectures_is_of_a_system():
    files = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file())
    assert files and {path.parts[0] for path in files} == set(SYSTEMS)
    for path in files:
        values = yaml.safe_load((FOLDER / path).read_text())
        assert path.suffix == ".yaml" and len(path.parts) == 2 and set(values) == {"checkpoints", "configurations"}


def test_a_part_of_a_published_network_has_no_weights(tmp_path):
    part = describe_image_encoder(tmp_path / "image_encoder", read=planning_reader("animate_anyone"))
    with pytest.raises(MissingFileError):
        part.load()
