"""Options of StableAnimator: the small model's file, and which recogniser sees the face."""

import dataclasses

import numpy as np
import pytest

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines import jobs
from ppdiffusers_ext.pipelines.stable_animator.check import check_files, has_weights
from ppdiffusers_ext.pipelines.stable_animator.options import CONFIG, DEMO, StableAnimationConfig
from ppdiffusers_ext.pipelines.systems import SYSTEMS

PATHS = {"svd": "svd", "unet": "u", "pose_net": "p", "face_encoder": "f"}


def test_small_models_faces_are_optimised_on_request_alone_by_its_own_recogniser():
    plain, optimised = StableAnimationConfig.load(DEMO), StableAnimationConfig.load(DEMO, optimize_face=True)
    plain.check()
    assert plain.refinement is None and plain.faces is None
    assert (
        optimised.refinement.recognizer
        == plain.face_recognizer
        == "assets/stable_animator_demo/recognizer.safetensors"
    )


def test_one_way_to_see_a_face_is_accepted_and_none_without():
    both = StableAnimationConfig(**PATHS, faces="here", face_recognizer="r.safetensors")
    with pytest.raises(InputError, match="--faces and --face-recognizer are both given"):
        both.check()
    assert StableAnimationConfig(**PATHS, face_recognizer="r", find_face=False).face_recognizer is None


def test_recogniser_that_is_not_there_is_told_with_the_other_files(tmp_path):
    config = StableAnimationConfig(**dict.fromkeys(PATHS, str(tmp_path)), face_recognizer=str(tmp_path / "r"))
    with pytest.raises(MissingFileError, match="face_recognizer"):
        check_files(config)
    assert has_weights(config) and not has_weights(StableAnimationConfig(**PATHS))


@pytest.mark.parametrize(("size", "expected"), [((256, 256), (128, 128)), ((200, 260), (128, 192))])
def test_small_model_is_taken_without_released_weights_in_sides_that_the_networks_have(
    tmp_path, monkeypatch, size, expected
):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "me.png", np.zeros((size[1], size[0], 3), np.uint8))
    ships = dataclasses.replace(SYSTEMS["stable_animator"], demo_file=DEMO)
    monkeypatch.setitem(SYSTEMS, "stable_animator", ships)
    config, is_small = jobs.load_model_config("stable_animator", None, {"optimize_face": True}, "me.png")
    assert is_small and (config.width, config.height) == expected and config.refinement is not None
    config.check()
    config, is_small = jobs.load_model_config("stable_animator", CONFIG, {}, "me.png")
    assert not is_small and config.width == 512
