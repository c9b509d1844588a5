"""Nothing that a folder holds is run, and nothing is fetched, whichever public class is the first to load something.

Each class has a process for itself (`tests.support.fresh_process`); nothing here puts the safe reader in place.
"""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ppdiffusers import AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import ppdiffusers_ext
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, IResNet, PoseNet
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from tests.support.easy_folders import PARTS, config_of, write_easy
from tests.test_parity import GOLDENS

ROOT = Path(__file__).parents[1]
PIPELINES = {
    "Pose2VideoPipeline": ("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"),
    "StableAnimatorPipeline": ("vae", "image_encoder", "unet", "pose_net", "face_encoder"),
    "EasyAnimatePipeline": ("vae", "transformer", "text_encoder", "text_encoder_2"),
    "EasyAnimateInpaintPipeline": ("vae", "transformer", "text_encoder", "text_encoder_2", "image_encoder"),
}
MODELS = (
    *("DenoisingUNet3D", "PoseGuider", "ReferenceUNet", "AnimationUNet", "PoseNet", "FusionFaceId", "IResNet"),
    *("AutoencoderKLMagvit", "HunyuanTransformer3D", "PixArtTransformer3D"),
)
SAMPLERS = ("UniPCMultistepScheduler", "DPMSolverMultistepScheduler")
LOADERS = (*PIPELINES, *MODELS, *SAMPLERS)
# Names under which ppdiffusers, diffusers, paddlenlp or transformers look for weights.
NAMES = (
    *("model_state.pdparams", "diffusion_pytorch_model.bin", "pytorch_model.bin", "model.safetensors"),
    *("model_state.safetensors", "diffusion_paddle_model.safetensors", "diffusion_pytorch_model.safetensors"),
)
MORE_NAMES = (
    *(
        "diffusion_pytorch_model.ckpt",
        "model.pth",
        "weights.npz",
        "weights.npy",
        "model_state.pdopt",
        "optimizer.pdopt",
    ),
    *("tokenizer.pkl", "vocab.pkl", "scheduler.pdparams", "model_state.fp16.pdparams", "config.pkl", "rng_state.pth"),
)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def write_pickle(path, marker):
    path.write_bytes(pickle.dumps({"a": np.ones(2), "b": Payload(marker)}, protocol=4))


def write_old_pickle(path, marker):
    path.write_bytes(f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode())


def write_torch(path, marker):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Payload(marker)}, protocol=2))
        archive.writestr("archive/version", "3\n")


def write_numpy(path, marker):
    with open(path, "wb") as file:
        np.savez(file, a=np.array([Payload(marker)], dtype=object))


FORMATS = (write_pickle, write_old_pickle, write_torch, write_numpy)


def start(imports, jobs):
    """A process of `tests.support.fresh_process` that is asked for jobs: class -> attempts."""
    request = {"imports": imports, "jobs": [{"class": name, "attempts": attempts} for name, attempts in jobs.items()]}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fresh_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    return process


def answers(process, jobs):
    """(class, attempt, error, message, events of the network) of each attempt."""
    content, errors = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, errors[-2000:]
    for (name, attempts), results in zip(jobs.items(), json.loads(content)):
        for attempt, (error, message, asked) in zip(attempts, results):
            yield name, attempt, error, message, asked


@pytest.fixture(scope="module")
def folders(tmp_path_factory, parts):
    """Public class -> a folder that it loads."""
    root = tmp_path_factory.mktemp("folders")
    Pose2VideoPipeline(**parts, scheduler=make_scheduler("UniPC")).save_pretrained(root / "Pose2VideoPipeline")
    args = json.loads((GOLDENS / "stable_animator" / "pipeline_basic" / "config.json").read_text())["args"]
    StableAnimatorPipeline(
        AutoencoderKLTemporalDecoder(**args["vae"]),
        CLIPVisionModelWithProjection(CLIPVisionConfig(**args["image_encoder"])),
        AnimationUNet(**args["unet"]),
        PoseNet(**args["pose_net"]),
        FusionFaceId(**args["face_encoder"]),
        make_scheduler("Euler"),
    ).save_pretrained(root / "StableAnimatorPipeline")
    write_easy(root / "EasyAnimateInpaintPipeline", "v4")
    write_easy(root / "EasyAnimatePipeline", "v4_t2v")
    IResNet(layers=(1, 1, 1, 1)).save_pretrained(root / "IResNet")
    found = {name: root / name for name in (*PIPELINES, "IResNet")}
    own = {
        "Pose2VideoPipeline": ("DenoisingUNet3D", "ReferenceUNet", "PoseGuider"),
        "StableAnimatorPipeline": ("AnimationUNet", "PoseNet", "FusionFaceId"),
    }
    for pipeline, names in own.items():
        for part in PIPELINES[pipeline]:
            name = json.loads((root / pipeline / part / "config.json").read_text()).get("_class_name")
            if name in names:
                found[name] = root / pipeline / part
    for name, short in zip(SAMPLERS, ("UniPC", "DPM++")):
        make_scheduler(short).save_pretrained(str(root / name))
        found[name] = root / name
    easy = root / "EasyAnimateInpaintPipeline"
    found |= {"AutoencoderKLMagvit": easy / "vae", "HunyuanTransformer3D": easy / "transformer"}
    found["PixArtTransformer3D"] = root / "PixArtTransformer3D"
    found["PixArtTransformer3D"].mkdir()
    config = {key: value for key, value in config_of(*PARTS["v2"]["transformer"]).items() if key[0] != "_"}
    (root / "PixArtTransformer3D" / "config.json").write_text(json.dumps(config))
    return found


def with_part(folder, copy, part, weights):
    """A copy of a folder by links, one part of which ("" is the folder itself) is a folder of its own.

    Returns:
        that folder, with its weights (unless they are to go) and all else.
    """
    inner = copy / part
    if part:
        copy.mkdir(parents=True)
        for entry in folder.iterdir():
            if entry.name != part:
                (copy / entry.name).symlink_to(entry)
    shutil.copytree(folder / part, inner)
    for path in [] if weights else inner.iterdir():
        if path.name in NAMES:
            path.unlink()
    return inner


def hostile_attempts(name, folder, tmp_path, marker):
    """What `from_pretrained` is given: in each part's place hostile files, alone and beside others."""
    if name in SAMPLERS:
        return sampler_attempts(name, folder, tmp_path, marker)
    formats, attempts = itertools.cycle(FORMATS), []
    parts = PIPELINES.get(name, ("",))
    each = 1 if name in PIPELINES else 3
    names = itertools.cycle(NAMES)
    load = parts if name.startswith("Easy") else ()
    for part in parts:
        for i in range(each):
            copy, file = tmp_path / f"{name}-{part}-{i}", next(names)
            next(formats)(with_part(folder, copy, part, weights=False) / file, marker)
            attempts.append({"folder": str(copy), "load": load, "refused": True})
        copy = tmp_path / f"{name}-{part}-beside"
        inner = with_part(folder, copy, part, weights=True)
        for file in (*NAMES, *MORE_NAMES):
            if not (inner / file).exists():
                next(formats)(inner / file, marker)
        attempts.append({"folder": str(copy), "load": load, "refused": False})
    if name.startswith("Easy"):
        for part, file in (("tokenizer", "vocab.txt"), ("tokenizer_2", "spiece.model")):
            copy = tmp_path / f"{name}-{part}"
            write_pickle(with_part(folder, copy, part, weights=True) / file, marker)
            attempts.append({"folder": str(copy), "load": load, "refused": True})
        for i, option in enumerate(("transformer_path", "vae_path", "loras")):
            path = tmp_path / f"{name}-{i}.pth"
            write_torch(path, marker)
            value = [[str(path), 1.0]] if option == "loras" else str(path)
            attempts.append({"folder": str(folder), "options": {option: value}, "load": load, "refused": True})
    return attempts


# What may stand in a scheduler_config.json: nothing that a sampler's options are.
NO_SAMPLER = (
    *('{"_class_name": "os.system"}', '{"_class_name": "payload.UniPCMultistepScheduler"}', '{"_class_name": ["os"]}'),
    *('{"num_train_timesteps": 1000000000}', '{"trained_betas": ["__import__"]}', '{"beta_start": NaN}', "[]", "3"),
    *('{"beta_schedule": {"_target_": "os.system"}}', '{"a":' * 3000, '{"solver_order": ' + "9" * 5000 + "}", ""),
)


def sampler_attempts(name, folder, tmp_path, marker):
    """Of a sampler nothing is read but its options: hostile ones are refused, hostile files beside are not opened."""
    attempts = []
    for i, content in enumerate((*FORMATS, *NO_SAMPLER)):
        copy = tmp_path / f"{name}-{i}"
        path = with_part(folder, copy, "", weights=True) / "scheduler_config.json"
        content(path, marker) if callable(content) else path.write_text(content)
        attempts.append({"folder": str(copy), "refused": True})
    copy = tmp_path / f"{name}-beside"
    inner = with_part(folder, copy, "", weights=True)
    for file, write in zip((*NAMES, *MORE_NAMES, "config.json", "model_index.json"), itertools.cycle(FORMATS)):
        write(inner / file, marker)
    return [*attempts, {"folder": str(copy), "refused": False}]


NOT_THERE = ("no_such_folder", "owner/name", "~/no_such_folder", "bert-base-uncased", "hf://owner/name", "a" * 300)
MIRRORS = {
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "PPDIFFUSERS_ENDPOINT": "http://127.0.0.1:9",
    "FROM_HF_HUB": "True",
    "FROM_AISTUDIO": "True",
    "https_proxy": "http://127.0.0.1:9",
}


# What ppdiffusers and paddlenlp load by themselves, behind a part of the package that needs neither.
LIBRARIES = {
    "ppdiffusers_ext.environment > ppdiffusers > AutoencoderKL": "Pose2VideoPipeline/vae",
    "ppdiffusers_ext.data > ppdiffusers.transformers > CLIPVisionModelWithProjection": "Pose2VideoPipeline/"
    "image_encoder",
    "ppdiffusers_ext.weights.loading > paddlenlp.transformers > BertModel": "EasyAnimateInpaintPipeline/text_encoder",
}


def library_attempts(name, folder, tmp_path, marker):
    names, attempts = ("model_state.pdparams", "pytorch_model.bin", "diffusion_pytorch_model.bin"), []
    for i, (file, write) in enumerate(itertools.product(names, FORMATS[:3])):
        copy = tmp_path / f"{name.rpartition(' ')[2]}-{i}"
        write(with_part(folder, copy, "", weights=False) / file, marker)
        attempts.append({"folder": str(copy), "by_library": True})
        if not file.endswith(".pdparams"):
            attempts[-1]["options"] = (
                {"from_diffusers": True} if "ppdiffusers >" in name else {"convert_from_torch": True}
            )
    return attempts


def local_attempts(name, folder, file):
    methods = ["from_pretrained", "load_config"]
    attempts = [{"folder": path, "method": method} for path in NOT_THERE for method in methods]
    attempts += [{"folder": path, "method": method} for path in ("", "\0", file, None, 3) for method in methods]
    attempts += [{"folder": path, "environment": MIRRORS} for path in NOT_THERE[:3]]
    for key in ("from_hf_hub", "from_aistudio", "force_download", "nonsense"):
        attempts.append({"folder": NOT_THERE[1], "options": {key: True}})
        attempts.append({"folder": str(folder), "options": {key: True}})
    attempts += [
        {"folder": NOT_THERE[1], "options": {"subfolder": "vae"}},
        {"folder": "owner", "method": "from_config"},
    ]
    attempts += [{"folder": str(folder), "options": {"subfolder": sub}} for sub in ("no_such", "..", "/tmp", 7)]
    return [*attempts, *([{"folder": "owner/name", "method": "download"}] if name in PIPELINES else [])]


@pytest.fixture(scope="module")
def tried(tmp_path_factory, folders):
    """All answers, and whether a payload has run. Two processes: before and after the import of the libraries."""
    root = tmp_path_factory.mktemp("hostile")
    marker, file = root / "executed", root / "model.safetensors"
    file.write_bytes(b"")
    hostile = {name: hostile_attempts(name, folders[name], root, marker) for name in LOADERS}
    local = {name: local_attempts(name, folders[name], str(file)) for name in LOADERS}
    root_of = folders["IResNet"].parent
    libraries = {name: library_attempts(name, root_of / path, root, marker) for name, path in LIBRARIES.items()}
    before = {name: hostile[name] for name in tuple(PIPELINES)[:3]}
    after = {name: [*(hostile[name] if name not in before else []), *local[name]] for name in local}
    processes = [
        (start(["paddle"], before), before),
        (start(["paddle", "ppdiffusers", "paddlenlp.transformers"], {**after, **libraries}), {**after, **libraries}),
    ]
    found = [answer for process, jobs in processes for answer in answers(process, jobs)]
    return found, marker.exists()


def test_first_class_that_loads_runs_nothing_of_a_hostile_folder(tried):
    found, has_run = tried
    assert not has_run
    count = 0
    for name, attempt, error, message, asked in found:
        if "refused" in attempt:
            count += 1
            where = (name, attempt, error, message)
            assert asked == [], where
            assert error in ("InputError", "MissingFileError") or (error == "loaded" and not attempt["refused"]), where
    assert count > 60


def test_libraries_run_nothing_of_a_hostile_folder_either(tried):
    found, has_run = tried
    assert not has_run
    seen = [(error, message, attempt) for _, attempt, error, message, _ in found if "by_library" in attempt]
    assert [each for each in seen if each[0] == "loaded"] == []
    refused = [each for each in seen if each[0] == "InputError" and "wants to import posix.system" in each[1]]
    assert len(refused) >= len(seen) // 2, seen  # the others are no names that the library looks for


def test_payloads_do_run_where_nothing_holds_them_back(tmp_path):
    marker = tmp_path / "executed"
    for i, write in enumerate(FORMATS):
        path = tmp_path / f"{i}"
        write(path, marker)
        if write is write_numpy:
            with np.load(path, allow_pickle=True) as arrays:
                arrays["a"]
        else:
            content = zipfile.ZipFile(path).read("archive/data.pkl") if write is write_torch else path.read_bytes()
            pickle.loads(content)
        assert marker.exists()
        marker.unlink()


def test_a_name_that_is_no_folder_is_told_and_nothing_is_asked_of_the_network(tried):
    for name, attempt, error, message, asked in tried[0]:
        where = (name, attempt, error, message, asked)
        assert asked == [], where
        if "refused" in attempt or "by_library" in attempt:
            continue
        assert error in ("InputError", "MissingFileError"), where
        is_plain = "options" not in attempt and attempt.get("method") in (None, "from_pretrained", "load_config")
        if attempt["folder"] in NOT_THERE[:5] and is_plain:
            assert error == "MissingFileError" and attempt["folder"].replace("//", "/") in message, where
            assert "is needed" in message, where
        for option in attempt.get("options", {}):
            assert option in message or error == "MissingFileError", where


def test_all_public_classes_that_load_are_tried():
    tried = {*LOADERS, "MotionModule", "FaceRefinement", "__version__"}
    assert set(ppdiffusers_ext.__all__) == tried
    for name in ("MotionModule", "FaceRefinement"):
        assert not hasattr(getattr(ppdiffusers_ext, name), "from_pretrained")
