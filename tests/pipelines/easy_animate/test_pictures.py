"""CLIP's view of a picture is that of transformers' CLIPImageProcessor."""

import json

import numpy as np
import paddle
import pytest
from PIL import Image

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.easy_animate.pictures import PictureProcessor, read_picture_processor

OPTIONS = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}

# Of transformers 4.46.3 with Pillow 12.3: (height, width) -> three pixels of `picture`, and the sum of all.
PIXELS = (0, 0), (100, 57), (223, 223)
EXPECTED = {
    (96, 150): (
        [[0.937643, -1.752097, 1.363793], [1.565376, 0.183905, 1.989476], [-0.084247, -0.581491, 1.164713]],
        131566.04,
    ),
    (300, 260): (
        [[-0.901758, -1.722082, -0.769216], [-0.274026, -0.776592, 0.325729], [-0.493003, -0.746577, 2.145897]],
        124727.44,
    ),
}


def picture(height, width):
    """An uneven picture, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    channels = x * 7 + y * 3, x * y, x // 5 * 40 + y // 9 * 25
    return np.stack([channel % 256 for channel in channels], -1).astype(np.uint8)


def write(folder, **options):
    (folder / "preprocessor_config.json").write_text(json.dumps(options))
    return folder


@pytest.mark.parametrize("size", EXPECTED)
@pytest.mark.parametrize("older", [{}, {"size": 224, "crop_size": 224}])
def test_pixels_are_those_of_transformers(tmp_path, size, older):
    processor = read_picture_processor(write(tmp_path, **{**OPTIONS, **older}))
    pixels, total = EXPECTED[size]
    found = processor(picture(*size))
    assert list(found.shape) == [1, 3, 224, 224] and found.dtype == paddle.float32
    np.testing.assert_allclose([found[0, :, y, x].numpy() for y, x in PIXELS], pixels, atol=1e-6)
    assert abs(float(found.abs().astype("float64").sum()) - total) < 0.01
    assert bool((processor(Image.fromarray(picture(*size))) == found).all())


def test_size_mean_and_spread_are_those_of_the_folder(tmp_path):
    options = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 30}, "image_mean": [0.5] * 3}
    processor = read_picture_processor(write(tmp_path, **OPTIONS | options | {"image_std": [0.25] * 3}))
    found = processor(np.full((40, 50, 3), 255, np.uint8))
    assert list(found.shape) == [1, 3, 28, 30] and bool((found == 2).all())


def test_missing_options_are_told(tmp_path):
    with pytest.raises(
        MissingFileError, match="preprocessor_config.json does not exist; those of the image encoder are needed"
    ):
        read_picture_processor(tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"image_processor_type": "SiglipImageProcessor"}, "image_processor_type 'SiglipImageProcessor' in it is not"),
        ({"size": {"longest": 3}}, "it: image_mean is|the options in it do not fit"),
        ({"image_mean": [0.5]}, "it: image_mean is|the options in it do not fit"),
    ],
)
def test_options_that_do_not_fit_are_told(options, message):
    with pytest.raises(InputError, match=message):
        PictureProcessor({**OPTIONS, **options}, "it")


@pytest.mark.parametrize(
    "given", [np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8), "dog.png"]
)
def test_what_is_no_picture_is_told(given):
    with pytest.raises(InputError, match=r"RGB of uint8, \(height, width, 3\), is accepted"):
        PictureProcessor(OPTIONS, "it")(given)
