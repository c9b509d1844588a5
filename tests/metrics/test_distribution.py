"""Features of pictures and clips: preparations, clips of other lengths, and the same bits whatever the batch."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.distribution import ClipFeatures, PictureFeatures, resize_bicubic
from ppdiffusers_ext.metrics.networks import OpenedNetwork
from ppdiffusers_ext.models.metrics import InceptionV3
from tests.support.golden import Case

CASE = Case(Path(__file__).parents[1] / "goldens" / "metrics" / "inception_fid")


class FirstPixels(paddle.nn.Layer):
    """In the place of a network of clips: the red of the first pixels, so that one sees what it was given."""

    def forward(self, clips):
        self.shape = list(clips.shape)
        return clips[:, 0, :, 0, :2].flatten(1)


def clip_features(name="resnet3d_fidvid", preparation="disco"):
    layer = FirstPixels()
    return ClipFeatures(OpenedNetwork(name, layer), preparation), layer


def frames(count, height=20, width=30, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_bicubic_resizing_neither_rounds_nor_cuts_off():
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = 255
    resized = resize_bicubic(step, 32)
    assert resized.shape == (3, 32, 32) and resized.dtype == np.float32
    assert resized.min() < -1 and resized.max() > 256
    assert np.any(resized != np.round(resized))
    np.testing.assert_array_equal(resize_bicubic(np.full((5, 9, 3), 7, np.uint8), 32), 7)


@pytest.mark.parametrize("count, segments", [(16, 1), (1, 1), (17, 2), (40, 3)])
def test_residual_network_sees_segments_of_16_frames_filled_with_the_last(count, segments):
    features, layer = clip_features()
    prepared = np.stack([np.full((3, 112, 112), i, np.float32) for i in range(count)])
    row = features.of_prepared(prepared)
    assert layer.shape == [1, 3, 16, 112, 112]
    numbers = np.minimum(np.arange(16 * segments), count - 1).reshape(segments, 16).mean(0)
    np.testing.assert_array_equal(row, np.repeat(numbers, 2).astype(np.float32))


def test_i3d_sees_clips_of_any_length_from_minus_1_to_1():
    features, layer = clip_features("i3d_fvd")
    found = features(np.stack([frames(5), np.full((5, 20, 30, 3), 255, np.uint8)]))
    assert layer.shape == [1, 3, 5, 224, 224] and found.shape == (2, 10)
    np.testing.assert_array_equal(found[1], 1)
    assert found[0].min() >= -1.2 and found[0].max() <= 1.2


@pytest.mark.parametrize("height, width", [(20, 30), (30, 20), (24, 24)])
def test_styleganv_takes_the_middle_square(height, width):
    features, _ = clip_features("i3d_fvd", "styleganv")
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - min(height, width)) // 2, (width - min(height, width)) // 2
    frame[top : height - top, left : width - left] = 255
    prepared = features.prepare(frame)
    assert prepared.shape == (3, 224, 224)
    np.testing.assert_allclose(prepared[:, 8:-8, 8:-8], 1, atol=1e-6)


def test_clips_of_several_sizes_and_none():
    features, _ = clip_features("i3d_fvd")
    found = features([frames(2), frames(2, 40, 11)])
    np.testing.assert_array_equal(found[1], features([frames(2, 40, 11)])[0])
    assert features([]).shape == (0, 400)


def test_other_networks_preparations_and_pictures_are_refused():
    with pytest.raises(InputError, match="preparation 'styleganv' of resnet3d_fidvid is not known; disco is accepted"):
        clip_features("resnet3d_fidvid", "styleganv")
    with pytest.raises(InputError, match="i3d_fvd has no features of pictures; inception_fid is accepted"):
        PictureFeatures(OpenedNetwork("i3d_fvd", FirstPixels()))
    with pytest.raises(InputError, match="inception_fid has no features of clips; i3d_fvd or"):
        ClipFeatures(OpenedNetwork("inception_fid", FirstPixels()))
    features, _ = clip_features()
    with pytest.raises(ValueError, match=r"\(20, 30, 4\) and type uint8"):
        features.prepare(np.zeros((20, 30, 4), np.uint8))


@pytest.mark.long
@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_features_are_the_same_bits_whatever_the_batch(engine, tmp_path):
    pytest.importorskip("openvino")
    network = OpenedNetwork("inception_fid", CASE.fill("inception", InceptionV3()), engine, tmp_path)
    features, inputs = PictureFeatures(network), CASE.tensors("inputs")
    pictures = [inputs[f"picture{i}"].numpy() for i in range(4)]
    together = features(pictures)
    alone = np.concatenate([features([picture]) for picture in pictures[::-1]])[::-1]
    assert together.shape == (4, 2048) and together.dtype == np.float32
    assert together.tobytes() == np.ascontiguousarray(alone).tobytes()
    np.testing.assert_allclose(together[0], CASE.tensors("outputs")["pool3.0"].numpy(), atol=1e-4)
