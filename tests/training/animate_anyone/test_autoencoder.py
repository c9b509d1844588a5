"""Training of the autoencoder: that it learns, what it writes, and what its noise follows from."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml
from ppdiffusers import AutoencoderKL

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.synthetic import write_clips
from ppdiffusers_ext.pipelines.loading import describe_vae
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.animate_anyone.autoencoder import AutoencoderObjective, _Wrapped, collate
from scripts.training import main

CONFIG = "configs/training/stable_animator_demo/vae.json"  # a small one


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder, 0, range(3), num_frames=4, side=32)
    return folder


def options(data, folder, **others):
    return {
        "do_train": True,
        "vae_config_path": CONFIG,
        "meta_paths": str(data),
        "output_dir": str(folder),
        "train_width": 64,
        "train_height": 64,
        "crop_ratio_min": 1.0,
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "learning_rate": 3.0e-3,
        "lr_scheduler_type": "constant",
        "save_strategy": "steps",
        "save_steps": 3,
        "seed": 5,
        "device": "cpu",
        "disable_tqdm": True,
        "ema_decay": 0.9,
        "validation_steps": 4,
        "validation_clips": 1,
        **others,
    }


def train(data, folder, **others):
    folder.mkdir(exist_ok=True)
    (folder / "training.yaml").write_text(yaml.safe_dump(options(data, folder / "out", **others)))
    assert main("vae", [str(folder / "training.yaml")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("run"))


def test_result_is_a_folder_that_the_pipeline_loads(trained):
    vae = describe_vae(trained / "vae").load()
    latents = vae.encode(paddle.rand([2, 3, 64, 64]) * 2 - 1).latent_dist.mean
    assert latents.shape == [2, vae.config.latent_channels, 8, 8]
    assert 0.01 < vae.config.scaling_factor < 100
    assert vae.config.scaling_factor != AutoencoderKL().config.scaling_factor


def test_held_out_clips_are_shown(trained):
    names = sorted(path.name for path in (trained / "samples").iterdir())
    assert names == ["step-0000004.png", "step-0000006.png"]
    width, height = read_image(trained / "samples" / names[0]).size
    assert width > 2 * 64 and height > 64


def test_stopped_run_goes_on_to_the_same_bits(data, trained, tmp_path):
    import shutil

    shutil.copytree(checkpoints.folder_of(trained, 3), checkpoints.folder_of(tmp_path / "out", 3))
    again = train(data, tmp_path)
    for name in ("vae.safetensors", "vae/diffusion_paddle_model.safetensors", "vae/config.json"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_loss_falls(data):
    from ppdiffusers_ext.data.animate_anyone.clips import find_clips
    from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_image

    clips = TrainingClips(find_clips(str(data)), 4, 0, 64, 64, lambda rng, n: choose_image(rng, n, 2))
    batch = collate([clips[index] for index in range(2)])
    assert batch["pixels"].shape == (2, 3, 64, 64)
    batch["pixels"] = paddle.to_tensor(batch["pixels"])
    paddle.seed(0)
    model = _Wrapped(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=1,
        )
    )
    objective = AutoencoderObjective(0, 1e-4)
    assert float(objective(model, batch)) == float(objective(model, batch))
    assert float(objective(model, batch)) != float(AutoencoderObjective(1, 1e-4)(model, batch))
    optimizer = paddle.optimizer.Adam(3e-3, parameters=model.parameters())
    losses = []
    for _ in range(12):
        loss = objective(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    "error, weight, expected",
    [
        ((0.1, 0.1, 0.1), 1.0, 0.1 + 0.01),
        ((0.1, 0.1, 0.1), 3.0, 0.1 + 0.01),
        ((0.1, -0.1, 0.0), 1.0, 0.2 / 3 + 0.02 / 3),
        ((0.1, -0.1, 0.0), 3.0, 0.6 / 3 + 0.18 / 3),
    ],
)
def test_colour_weight_is_of_colours_alone(error, weight, expected):
    class Model:
        vae = SimpleNamespace(config=SimpleNamespace(block_out_channels=(8, 8), latent_channels=4))

        def __call__(self, pixels, noise):
            nothing = paddle.zeros_like(noise)
            return pixels + paddle.to_tensor(error).reshape([1, 3, 1, 1]), nothing, nothing

    batch = {"pixels": paddle.rand([1, 3, 8, 8]), "index": [0]}
    assert float(AutoencoderObjective(0, 1e-4, weight)(Model(), batch)) == pytest.approx(expected, abs=1e-6)


def test_square_weight_is_of_squared_errors_alone():
    class Model:
        vae = SimpleNamespace(config=SimpleNamespace(block_out_channels=(8, 8), latent_channels=4))

        def __call__(self, pixels, noise):
            nothing = paddle.zeros_like(noise)
            return pixels + 0.2, nothing, nothing

    batch = {"pixels": paddle.rand([1, 3, 8, 8]), "index": [0]}
    assert float(AutoencoderObjective(0, 1e-4, 1.0, 10.0)(Model(), batch)) == pytest.approx(0.2 + 10 * 0.04, abs=1e-6)
