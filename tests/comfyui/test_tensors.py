"""IMAGE, MASK and AUDIO to arrays and back, and what is none of them."""

import numpy as np
import pytest

from ppdiffusers_ext.comfyui import tensors
from ppdiffusers_ext.errors import InputError
from tests.support.comfy_host import Tensor

ONE = np.full((1, 4, 6, 3), 0.5, np.float32)


def test_picture_goes_to_bytes_and_back(host):
    levels = (np.arange(256, dtype=np.float32) / 255).reshape(1, 16, 16, 1).repeat(3, axis=3)
    frames = tensors.frames_of(Tensor(levels, "cuda:0"), "images")
    assert frames.dtype == np.uint8 and np.array_equal(frames[0, ..., 0].ravel(), np.arange(256))
    back = tensors.to_image(frames)
    assert back.dtype == "float32" and np.array_equal(back.numpy(), levels)


def test_numbers_beyond_the_range_are_cut_off_and_transparent_pixels_lie_over_white(host):
    beyond = np.array([-3.0, 0.25, 1e30], np.float32).reshape(1, 1, 1, 3)
    assert tensors.frames_of(Tensor(beyond), "images").ravel().tolist() == [0, 64, 255]
    clear = np.zeros((1, 1, 2, 4), np.float64)
    clear[..., 1, 3] = 1
    assert tensors.frames_of(Tensor(clear), "images").tolist() == [[[[255] * 3, [0] * 3]]]


def bad(array, place=(0, 0, 0), value=np.nan):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "is not given"),
        ("picture.png", "'picture.png'"),
        ([[1.0]], "[[1.0]]"),
        (ONE[:0], "(0, 4, 6, 3)"),
        (ONE[:, :0], "(1, 0, 6, 3)"),
        (ONE[:, :, :0], "(1, 4, 0, 3)"),
        (ONE[0], "(4, 6, 3)"),
        (ONE[None], "(1, 1, 4, 6, 3)"),
        (ONE[..., :1], "(1, 4, 6, 1)"),
        (ONE.transpose(0, 3, 1, 2), "(1, 3, 4, 6)"),
        (bad(ONE), "not finite"),
        (bad(ONE, (0, 3, 5, 2), np.inf), "not finite"),
        (bad(ONE, (0, 1, 1, 1), -np.inf), "not finite"),
        ((ONE * 255).astype(np.uint8), "type uint8"),
        (ONE > 0, "type bool"),
        (ONE.astype(np.complex64), "type complex64"),
        (np.array(None), "()"),
    ],
)
def test_what_is_no_image_is_refused_in_words(value, told):
    value = Tensor(value) if isinstance(value, np.ndarray) else value
    with pytest.raises(InputError) as error:
        tensors.frames_of(value, "start_img")
    assert str(error.value).startswith("start_img ") and told in str(error.value)
    assert "(pictures, height, width, 3)" in str(error.value)


def test_several_pictures_are_no_picture():
    with pytest.raises(InputError, match="reference_image has 2 pictures; one is accepted"):
        tensors.picture_of(Tensor(ONE.repeat(2, axis=0)), "reference_image")


def test_mask_is_white_where_it_is_one(host):
    mask = np.zeros((2, 4, 6), np.float32)
    mask[1, 2:] = 1
    masks = tensors.masks_of(Tensor(mask), "mask")
    assert masks.shape == (2, 4, 6, 3) and masks[1, 2:].min() == 255 and masks[0].max() == 0
    assert np.array_equal(tensors.to_mask(masks[..., 0]).numpy(), mask)
    assert tensors.masks_of(Tensor(mask[0]), "mask").shape == (1, 4, 6, 3)  # as some nodes leave it


@pytest.mark.parametrize("shape", [(0, 4, 6), (1, 4, 6, 1), (4,), (1, 0, 6), ()])
def test_what_is_no_mask_is_refused_in_words(shape):
    with pytest.raises(InputError, match=r"mask has the shape .*; a MASK of the shape \(pictures, height, width\)"):
        tensors.masks_of(Tensor(np.zeros(shape, np.float32)), "mask")


def sound(samples=8, rate=4, **changed):
    return {"waveform": Tensor(np.arange(samples, dtype=np.float32).reshape(1, 1, -1)), "sample_rate": rate} | changed


def test_sound_becomes_as_long_as_the_frames(host):
    assert tensors.fit_audio(sound(), 1.5)["waveform"].numpy().ravel().tolist() == [0, 1, 2, 3, 4, 5]
    longer = tensors.fit_audio(sound(2), 1)
    assert longer["waveform"].numpy().ravel().tolist() == [0, 1, 0, 0] and longer["sample_rate"] == 4
    assert tensors.fit_audio(sound(), 1e-9)["waveform"].shape == (1, 1, 1)


@pytest.mark.parametrize(
    "audio",
    [
        "sound.wav",
        {},
        sound(sample_rate=0),
        sound(sample_rate=-8000),
        sound(sample_rate=44100.5),
        sound(sample_rate=True),
        sound(sample_rate=None),
        sound(waveform=None),
        sound(waveform=Tensor(np.zeros((1, 8), np.float32))),
        sound(waveform=Tensor(np.zeros((1, 1, 0), np.float32))),
        sound(waveform=Tensor(np.full((1, 1, 8), np.nan, np.float32))),
        sound(waveform=Tensor(np.zeros((1, 1, 8), np.int16))),
    ],
)
def test_what_is_no_audio_is_refused_in_words(audio):
    with pytest.raises(InputError, match=r"^audio .*; an AUDIO with a waveform of the shape \(1, channels, samples\)"):
        tensors.check_audio(audio, "audio")


def test_pictures_of_several_sizes_are_named():
    with pytest.raises(InputError, match=r"several sizes \(a 6x4, b 6x5\)"):
        tensors.check_same_size({"a": np.zeros((1, 4, 6, 3)), "b": np.zeros((1, 5, 6, 3))})
