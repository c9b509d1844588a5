"""What a model_index.json may say: closed lists, held before anything is imported or read."""

import json
import math
import os
import sys

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.rules import Anything, option_names
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.model_index import INDEX, describe_folder, read_index
from ppdiffusers_ext.pipelines.schedulers import (
    RULES,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
    make_scheduler,
    scheduler_class,
    scheduler_names,
)
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from tests.conftest import RELEASED_SCHEDULE
from tests.support.fuzzing import bounded

PIPELINES = (Pose2VideoPipeline, StableAnimatorPipeline, EasyAnimatePipeline, EasyAnimateInpaintPipeline)
CLASS = pytest.mark.parametrize("cls", PIPELINES, ids=lambda cls: cls.__name__)
PAYLOAD = "import pathlib\npathlib.Path({marker!r}).touch()\nclass AutoencoderKL: pass\nclass Fine: pass\n"


def index_of(cls, **changed):
    """A sound index: the first library and class of each part."""
    parts = {name: next(iter(accepted.items())) for name, accepted in cls.folder_parts.items() if accepted}
    pairs = {name: [libraries[0], classes[0]] for name, (libraries, classes) in parts.items()}
    return {"_class_name": cls.__name__, "_ppdiffusers_version": "0.29.0", **pairs, **changed}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with modules that make a file when they are imported, in all places where one could look for them."""
    marker = tmp_path / "executed"
    root = tmp_path / "folder"
    text = PAYLOAD.format(marker=str(marker))
    names = ("payload", "pipeline", "vae", "scheduler", "model", "unet", "transformer", "modeling_payload")
    for package in (root, *(root / name for name in ("model", "vae", "scheduler", "transformer", "payloads"))):
        package.mkdir(exist_ok=True)
        for name in (*names, "__init__") if package is not root else names:
            (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    assert not marker.exists()
    assert "payload" not in sys.modules and "this" not in sys.modules and "antigravity" not in sys.modules


HOSTILE = [
    *(["payload", "AutoencoderKL"], ["model.payload", "AutoencoderKL"], ["folder.payload", "AutoencoderKL"]),
    *(["this", "AutoencoderKL"], ["antigravity", "Fine"], ["os", "system"], ["builtins", "eval"], ["sys", "exit"]),
    *([".payload", "Fine"], ["..payload", "Fine"], ["diffusers.payload", "Fine"], ["ppdiffusers", "payload"]),
    *(["ppdiffusers", "DiffusionPipeline"], ["ppdiffusers", "StableDiffusionPipeline"], ["ppdiffusers", "os"]),
    *(["ppdiffusers", "__class__"], ["ppdiffusers_ext", "weights"], ["ppdiffusers_ext.payload", "PoseGuider"]),
    *(["paddlenlp.transformers", "AutoModel"], ["transformers", "AutoTokenizer"], ["PPDIFFUSERS", "AutoencoderKL"]),
    *(["ppdiffusers ", "AutoencoderKL"], ["ppdiffusers\u200b", "AutoencoderKL"], ["", ""], ["ppdiffusers"], []),
    *(["ppdiffusers", "AutoencoderKL", "payload"], [["payload"], "AutoencoderKL"], [None, "Fine"], ["payload", None]),
    *("payload", 3, True, {"payload": "Fine"}, {"0": "payload", "1": "Fine"}, [1, 2], [{}, {}], [["a"], ["b"]]),
    *(["a" * 10**5, "b" * 10**5], ["\x1b[31m", "Fine"], ["ppdiffusers.\0", "Fine"]),
]


@CLASS
def test_library_or_class_that_is_not_in_the_list_is_refused_and_never_imported(folder, cls):
    parts = cls.folder_parts
    for i, value in enumerate(HOSTILE):
        for part in (list(parts)[i % len(parts)], "vae", "scheduler", "payload"):
            (folder / INDEX).write_text(json.dumps(index_of(cls, **{part: value})))
            with pytest.raises(InputError, match="is accepted|are accepted") as caught:
                cls.from_pretrained(folder)
            assert len(str(caught.value)) < 5000 and str(caught.value).isprintable()
            assert part in str(caught.value)


@CLASS
@pytest.mark.parametrize(
    "content",
    [
        *("[]", "3", '"payload"', "null", "{", "", "[" * 10**5, '{"_class_name": NaN}', "9" * 10**4, "\ufeff{}x"),
        *('{"vae": ["a", "b"], "vae": ["ppdiffusers", "AutoencoderKL"]', '{"_class_name": ["payload", "Fine"]}'),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_index_that_is_none_is_refused(folder, cls, content):
    (folder / INDEX).write_text(content, encoding="utf-8")
    with pytest.raises(InputError):
        cls.from_pretrained(folder)


@pytest.mark.parametrize("cls", PIPELINES[:2], ids=lambda cls: cls.__name__)
def test_index_of_another_pipeline_or_without_all_parts_is_refused(folder, cls):
    with pytest.raises(MissingFileError, match="model_index.json does not exist"):
        cls.from_pretrained(folder)
    for other in ("StableDiffusionPipeline", "payload.Fine", "", 3, None, ["payload", "Fine"]):
        (folder / INDEX).write_text(json.dumps(index_of(cls, _class_name=other)))
        with pytest.raises(InputError, match=f"a {cls.__name__} is accepted"):
            cls.from_pretrained(folder)
    for part in cls.folder_parts:
        for changed in ({part: [None, None]}, {}):
            index = index_of(cls)
            index.pop(part)
            (folder / INDEX).write_text(json.dumps(index | changed))
            with pytest.raises(InputError, match=f"names no class of {part}"):
                cls.from_pretrained(folder)


@CLASS
def test_index_may_be_a_link_a_pipe_or_a_folder_and_is_refused(folder, cls, tmp_path):
    path = folder / INDEX
    for make in (
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("no"),
    ):
        make()
        with pytest.raises(InputError, match=INDEX):
            cls.from_pretrained(folder)
        path.rmdir() if path.is_dir() else path.unlink()


@CLASS
def test_names_of_libraries_as_published_folders_have_them_are_read(tmp_path, cls):
    for libraries in (("diffusers", "transformers"), ("ppdiffusers", "paddlenlp.transformers"), (None, None)):
        index = index_of(cls)
        for part, accepted in cls.folder_parts.items():
            for known, classes in accepted.items():
                for library in libraries:
                    if library in known:
                        index[part] = [library, classes[-1]]
        (tmp_path / INDEX).write_text(json.dumps(index))
        is_needed = cls in PIPELINES[:2]
        assert read_index(tmp_path, cls, is_needed) == {
            part: pair[1] for part, pair in index.items() if part[0] != "_"
        }


@pytest.fixture
def saved(make_pipeline, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("part", ["vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"])
def test_configuration_of_another_class_is_refused(folder, saved, part):
    path = saved / part / "config.json"
    config = json.loads(path.read_text())
    for key, value in (
        *(("_class_name", name) for name in ("payload.Fine", "UNet2DModel", ["payload", "Fine"], None, 3, "")),
        *(("architectures", value) for value in (["payload.Fine"], "payload", {"payload": "Fine"}, [["payload"]])),
    ):
        path.write_text(json.dumps({**config, key: value}))
        with pytest.raises(InputError, match="accepted"):
            Pose2VideoPipeline.from_pretrained(saved)


def test_notes_that_name_code_are_not_followed(folder, saved):
    notes = {
        "auto_map": {"AutoModel": "payload.Fine", "AutoencoderKL": "payload--payload.AutoencoderKL"},
        "custom_pipeline": "payload",
        "_module": "payload",
        "trust_remote_code": True,
        "model_type": "payload",
    }
    for path in saved.glob("*/*config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **notes}))
    (saved / INDEX).write_text(json.dumps({**json.loads((saved / INDEX).read_text()), "_module": "payload"}))
    pipeline = Pose2VideoPipeline.from_pretrained(saved)
    assert type(pipeline.vae).__module__.startswith("ppdiffusers.")


@pytest.mark.parametrize("name", ["payload.Fine", "AutoencoderKL", 3, ["DDIMScheduler"], ""])
def test_scheduler_of_another_class_is_refused(folder, saved, name):
    path = saved / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": name}))
    with pytest.raises(InputError, match="a scheduler of ppdiffusers is accepted"):
        Pose2VideoPipeline.from_pretrained(saved)


def test_every_scheduler_is_loaded_as_it_was_saved(saved):
    networks = dict.fromkeys(("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"))
    index, different = json.loads((saved / INDEX).read_text()), {}
    for name in scheduler_names():
        try:
            scheduler = make_scheduler(name)
        except InputError:  # that of VQ diffusion needs to know how many classes there are
            continue
        scheduler.save_pretrained(str(saved / "scheduler"))
        (saved / INDEX).write_text(json.dumps({**index, "scheduler": ["ppdiffusers", name]}))
        loaded = describe_folder(saved, Pose2VideoPipeline, "float32", "float32", given=networks)[1]
        before, after = (
            {key: each.config[key] for key in each.config if key[0] != "_"} for each in (scheduler, loaded)
        )
        before, after = (json.loads(json.dumps(options, default=str)) for options in (before, after))
        if type(loaded) is not type(scheduler) or before != after:
            different[name] = before, after
    assert different == {}


# What no option of any sampler may be, and what stops a reader that is not bounded.
NO_OPTIONS = (10**30, "x" * 10**6, {"_target_": "os.system"}, [["8"]], [None], math.nan)


def test_options_of_every_scheduler_are_held_to_rules(folder, saved):
    networks = dict.fromkeys(("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"))
    index, path = json.loads((saved / INDEX).read_text()), saved / "scheduler" / "scheduler_config.json"
    for name in scheduler_names():
        (saved / INDEX).write_text(json.dumps({**index, "scheduler": ["ppdiffusers", name]}))
        options = [option for option in option_names(scheduler_class(name)) if option != "kwargs"]
        options = [option for option in options if not isinstance(RULES.fields[option], Anything)]
        assert options
        for i, option in enumerate(options):
            path.write_text(json.dumps({"_class_name": name, option: NO_OPTIONS[i % len(NO_OPTIONS)]}))
            with bounded(most=64 << 20), pytest.raises(InputError, match=f"{option} is .* is accepted|NaN"):
                describe_folder(saved, Pose2VideoPipeline, "float32", "float32", given=networks)


@pytest.mark.parametrize("cls", [UniPCMultistepScheduler, DPMSolverMultistepScheduler])
def test_own_schedulers_hold_options_to_rules_however_they_are_made(cls):
    for value in (10**9, -1, "1000", [1000], 0.5):
        for make in (cls, lambda **options: cls.from_config(options)):
            with bounded(most=64 << 20), pytest.raises(InputError, match=f"{cls.__name__}: num_train_timesteps is"):
                make(num_train_timesteps=value)


def test_own_scheduler_is_loaded_with_its_options(tmp_path):
    make_scheduler("UniPC", RELEASED_SCHEDULE).save_pretrained(tmp_path / "scheduler")
    loaded = UniPCMultistepScheduler.from_pretrained(tmp_path, subfolder="scheduler", solver_order=1)
    assert loaded.config.solver_order == 1 and loaded.config.prediction_type == "v_prediction"
    with pytest.raises(InputError, match="'slover_order' is not known .* did you mean 'solver_order'"):
        UniPCMultistepScheduler.from_pretrained(tmp_path, subfolder="scheduler", slover_order=1)
