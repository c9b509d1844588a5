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


class MeanColours(paddle.nn.Layer):
    """In the place of the network of pictures: the mean of each colour."""

    resize = staticmethod(InceptionV3.resize)

    def features(self, x):
        self.shape = list(x.shape)
        return x.mean([2, 3])


def test_pictures_of_any_size_are_resized_one_by_one_to_numbers_from_minus_1_to_1():
    layer = MeanColours()
    features = PictureFeatures(OpenedNetwork("inception_fid", layer))
    pictures = [np.full((height, width, 3), (0, 51, 255), np.uint8) for height, width in ((8, 5), (300, 400))]
    np.testing.assert_allclose(features(pictures), [[-1, -0.6, 1]] * 2, atol=1e-3)
    assert layer.shape == [1, 3, 299, 299]
    assert (features.name, features.size, features([]).shape) == ("inception_fid", 2048, (0, 2048))
    assert features([]).dtype == np.float32
    with pytest.raises(ValueError, match="^the picture has shape"):
        features([pictures[0][..., 0]])


def test_residual_network_sees_levels_less_their_means():
    features, _ = clip_features()
    prepared = features.prepare(np.full((20, 30, 3), 100, np.uint8))
    assert prepared.shape == (3, 112, 112)
    np.testing.assert_allclose(prepared[:, 5, 5], [100 - 114.7748, 100 - 107.7354, 100 - 99.475], rtol=1e-5)
    assert (features.name, features.size, features.preparation) == ("resnet3d_fidvid", 2048, "disco")


def test_styleganv_sees_numbers_from_minus_1_to_1_of_the_shorter_side_in_224_pixels():
    features, _ = clip_features("i3d_fvd", "styleganv")
    rows = np.linspace(0, 255, 10).astype(np.uint8)
    for frame in (
        np.broadcast_to(rows[:, None, None], (10, 25, 3)),
        np.broadcast_to(rows[None, :, None], (25, 10, 3)),
    ):
        prepared = features.prepare(np.ascontiguousarray(frame))
        along = prepared[0, :, 100] if frame.shape[0] == 10 else prepared[0, 100]
        assert along[[0, -1]] == pytest.approx([-1, 1])
        assert along[100:124] == pytest.approx((np.arange(100, 124) + 0.5) / 112 * 25 / 22.5 - 25 / 22.5, abs=0.02)


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
