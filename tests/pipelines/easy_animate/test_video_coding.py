"""Videos and latents: chunks, tiles and pictures, and that what is computed in pieces is what is computed at once."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.pipelines.easy_animate.video_coding import decode, encode, frames_multiple, latents_shape

SMALL = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 0.2}
V2 = {"slice_mag_vae": True, "mini_batch_encoder": 9, "mini_batch_decoder": 3}
SLICES = {"slice_mag_vae": False, "mini_batch_encoder": 8, "mini_batch_decoder": 2}
V3 = {**SLICES, "slice_compression_vae": True}
V4 = {**SLICES, "cache_compression_vae": True}
VERSIONS = pytest.mark.parametrize("version", [V2, V3, V4], ids=["V2", "V3", "V4"])


def make(version, **options):
    paddle.seed(0)
    vae = AutoencoderKLMagvit(**{**SMALL, **version, **options})
    for parameter in vae.parameters():  # the first values of biases are zeros
        if parameter.ndim == 1:
            parameter.set_value(parameter + 0.2 * paddle.randn(parameter.shape))
    vae.eval()
    return vae


def draw(vae, frames, height=32, width=48, batch=1):
    paddle.seed(1)
    return paddle.randn(latents_shape(vae, batch, frames, height, width))


def joined(vae, latents):
    return paddle.concat(list(decode(vae, latents)), axis=2).numpy()


@VERSIONS
def test_shapes_of_videos_and_pictures(version):
    vae = make(version)
    size = frames_multiple(vae)
    for frames, of_latents in ((1, 1), (2 * size, 2 * version["mini_batch_decoder"])):
        pixels = paddle.rand([2, 3, frames, 32, 48]) * 2 - 1
        latents = encode(vae, pixels)
        assert latents.shape == [2, 4, of_latents, 4, 6] == latents_shape(vae, 2, frames, 32, 48)
        with paddle.no_grad():
            expected = vae.encode(pixels).latent_dist.mode() * 0.2
        np.testing.assert_array_equal(latents.numpy(), expected.numpy())
        chunks = list(decode(vae, latents))
        assert sum(chunk.shape[2] for chunk in chunks) == frames
        assert all(chunk.shape[2] <= size and chunk.dtype == paddle.float32 for chunk in chunks)
        assert all(0 <= float(chunk.min()) <= float(chunk.max()) <= 1 for chunk in chunks)


def smooth_at_once(vae, video, size):
    """The original's `smooth_output`, as it is written there: a video in [-1, 1], whole."""
    if video.shape[2] <= size:
        return video
    before = size // 2
    after = size - before
    middle = video[:, :, before:-after]
    again = vae.decode(vae.encode(middle).latent_dist.mode()).sample
    return paddle.concat([video[:, :, :before], (middle + again) / 2, video[:, :, -after:]], axis=2).clip(-1, 1)


@pytest.mark.parametrize("version, chunks", [(V2, 1), (V2, 3), (V3, 1), (V3, 2), (V3, 4)], ids=str)
def test_videos_of_earlier_versions_are_means_of_two(version, chunks):
    vae = make(version)
    latents = draw(vae, chunks * frames_multiple(vae))
    with paddle.no_grad():
        once = vae.decode(latents / 0.2).sample.clip(-1, 1)
        expected = smooth_at_once(vae, once, frames_multiple(vae)) / 2 + 0.5
    np.testing.assert_allclose(joined(vae, latents), expected.numpy(), atol=1e-6)
    assert (chunks > 1) == (np.abs(expected.numpy() - (once / 2 + 0.5).numpy()).max() > 1e-3)


def test_video_that_begins_with_a_picture_is_the_mean_of_two():
    vae = make(V3)
    paddle.seed(1)
    latents = paddle.randn([1, 4, 7, 4, 6])
    with paddle.no_grad():
        expected = smooth_at_once(vae, vae.decode(latents / 0.2).sample.clip(-1, 1), 8) / 2 + 0.5
    assert expected.shape[2] == 25 == vae.frames_of(7)
    np.testing.assert_allclose(joined(vae, latents), expected.numpy(), atol=1e-6)


def test_v4_is_not_decoded_twice():
    vae = make(V4)
    latents = draw(vae, 24)
    with paddle.no_grad():
        expected = vae.decode(latents / 0.2).sample.clip(-1, 1) / 2 + 0.5
    np.testing.assert_array_equal(joined(vae, latents), expected.numpy())


def tiles_at_once(vae, z, size, overlap):
    """The original's `tiled_decode`, as it is written there: the tiles of a whole video, one after the other."""
    latent = size // 8
    step, extent = int(latent * (1 - overlap)), int(size * overlap)
    kept = size - extent
    rows = [
        [vae.decode(z[:, :, :, i : i + latent, j : j + latent]).sample.numpy() for j in range(0, z.shape[4], step)]
        for i in range(0, z.shape[3], step)
    ]
    result = []
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            if i:
                above = rows[i - 1][j]
                for y in range(count := min(above.shape[3], tile.shape[3], extent)):
                    tile[:, :, :, y] = above[:, :, :, -count + y] * (1 - y / count) + tile[:, :, :, y] * (y / count)
            if j:
                left = row[j - 1]
                for x in range(count := min(left.shape[4], tile.shape[4], extent)):
                    tile[..., x] = left[..., -count + x] * (1 - x / count) + tile[..., x] * (x / count)
        result.append(np.concatenate([tile[:, :, :, :kept, :kept] for tile in row], axis=4))
    video = np.concatenate(result, axis=3)
    corner = vae.decode(z[:, :, :, -latent:, -latent:]).sample.numpy()
    height, width = corner.shape[3:]
    weights = np.minimum(np.linspace(0, 1, width)[None], np.linspace(0, 1, height)[:, None]).astype(np.float32)
    video[:, :, :, -height:, -width:] = weights * corner + (1 - weights) * video[:, :, :, -height:, -width:]
    return video


@pytest.mark.parametrize("size", [(40, 72), (24, 72), (72, 32)], ids=str)
@VERSIONS
def test_tiles_stream(version, size):
    vae = make(version, tile_sample_min_size=32)
    latents = draw(vae, 2 * frames_multiple(vae), *size)
    with paddle.no_grad():
        expected = tiles_at_once(vae, latents, 32, 0.25)
        vae.use_tiling = True
        chunks = list(vae.decode_chunks(latents.split(2, axis=2), latents.shape[2]))
    assert len(chunks) == 2
    np.testing.assert_allclose(np.concatenate(chunks, axis=2), expected, atol=1e-5)


def test_pieces_come_before_later_latents_are_asked_for():
    vae = make(V4)
    asked = []

    def latents():
        for i in range(3):
            asked.append(i)
            yield draw(vae, 8)

    with paddle.no_grad():
        chunks = vae.decode_chunks(latents(), 6)
        assert next(chunks).shape[2] == 8 and asked == [0]


def test_pictures_of_the_first_version_are_coded_one_by_one(make_vae):
    vae = make_vae()
    assert frames_multiple(vae) == 1 and latents_shape(vae, 2, 6, 32, 48) == [2, 4, 6, 4, 6]
    pixels = paddle.rand([2, 3, 6, 32, 48]) * 2 - 1
    latents = encode(vae, pixels)
    assert latents.shape == [2, 4, 6, 4, 6]
    chunks = list(decode(vae, latents))
    assert [chunk.shape for chunk in chunks] == [[2, 3, 4, 32, 48], [2, 3, 2, 32, 48]]
    with paddle.no_grad():
        for i in (0, 5):
            mode = vae.encode(pixels[:, :, i]).latent_dist.mode()
            np.testing.assert_allclose(latents[:, :, i].numpy(), mode.numpy() * vae.config.scaling_factor, atol=1e-6)
            picture = (vae.decode(mode).sample / 2 + 0.5).clip(0, 1)
            np.testing.assert_allclose(chunks[i // 4][:, :, i % 4].numpy(), picture.numpy(), atol=1e-5)
