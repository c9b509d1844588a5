"""The loss of a batch: what is drawn from what, what the reference has to do with it, and that parts add up."""

import numpy as np
import paddle
import pytest
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_video
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel, freeze
from ppdiffusers_ext.training.animate_anyone.objective import Collate, Objective
from ppdiffusers_ext.training.animate_anyone.places import lead
from ppdiffusers_ext.training.losses import min_snr_weights, signal_to_noise
from tests.conftest import RELEASED_SCHEDULE


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder, clips = tmp_path_factory.mktemp("clips"), []
    for index in range(2):
        clip = synthetic_clip(index, 8, 96, 96)
        files = ClipFiles(folder / f"{index}.mp4", folder / f"{index}_pose.mp4")
        for path, frames in ((files.video, clip.target), (files.pose, clip.pose)):
            with VideoWriter(path, clip.fps, 96, 96) as writer:
                writer.write(frames)
        clips.append(files)
    return TrainingClips(clips, 100, 3, 72, 80, lambda rng, frames: choose_video(rng, frames, 2, 2))


@pytest.fixture(scope="module")
def make_batch(dataset):
    collate = Collate(CLIPImageProcessor())

    def make(*indices):
        batch = collate([dataset[index] for index in indices])
        return {
            key: paddle.to_tensor(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()
        }

    return make


@pytest.fixture(scope="module")
def parts(make_vae, make_image_encoder):
    return make_vae(), make_image_encoder()


@pytest.fixture
def make_objective(parts):
    def make(samples_per_step=2, seed=0, **options):
        return Objective(*parts, make_scheduler("DDIM", RELEASED_SCHEDULE), seed, samples_per_step, **options)

    return make


@pytest.fixture(scope="module")
def model(make_reference_unet, make_denoising_unet):
    paddle.seed(7)
    model = AnimateAnyoneModel(make_reference_unet(), make_denoising_unet(), PoseGuider(32))
    freeze(model, 2)
    return model


def gradients(model):
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def test_batch_has_what_the_networks_take(make_batch):
    batch = make_batch(4, 9)
    assert batch["pixel_values"].shape == batch["pose_pixel_values"].shape == [2, 3, 2, 80, 72]
    assert batch["reference_pixel_values"].shape == [2, 3, 80, 72]
    assert batch["clip_pixel_values"].shape == [2, 3, 224, 224]
    assert batch["index"].tolist() == [4, 9]
    assert len(batch["clips"]) == 2
    assert batch["failures"] == []


def test_loss_is_the_same_for_the_same_samples_and_another_for_others(make_objective, make_batch, model):
    with paddle.no_grad():
        first, again = (float(make_objective()(model, make_batch(0, 1))) for _ in range(2))
        others = [
            float(make_objective()(model, make_batch(2, 3))),
            float(make_objective(seed=1)(model, make_batch(0, 1))),
        ]
    assert first == again
    assert first not in others
    assert 0.01 < first < 100


class Predicts(paddle.nn.Layer):
    """Predicts what it is given, whatever it sees."""

    def __init__(self, prediction):
        super().__init__()
        self.prediction = prediction

    def forward(self, *inputs, **options):
        return self.prediction


@pytest.mark.parametrize("snr_gamma", [0.0, 5.0])
def test_loss_is_of_the_clean_latents_where_the_schedule_says_so(parts, make_batch, snr_gamma):
    scheduler = make_scheduler("DDIM", {**RELEASED_SCHEDULE, "prediction_type": "sample"})
    objective = Objective(*parts, scheduler, 0, 2, snr_gamma=snr_gamma)
    batch = make_batch(0, 1)
    latents, _ = objective.encode(batch, [0, 1])
    assert float(objective(Predicts(latents), batch)) == 0
    _, timesteps = objective.draw_noise([0, 1], latents.shape)
    snr = signal_to_noise(scheduler, timesteps)
    weight = float(min_snr_weights(snr, snr_gamma, "sample").mean()) if snr_gamma else 1
    assert float(objective(Predicts(latents + 1), batch)) == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("uncond_ratio", [0.0, 1.0])
@pytest.mark.parametrize("snr_gamma", [0.0, 5.0])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(make_objective, make_batch, model, uncond_ratio, snr_gamma):
    objective = make_objective(4, uncond_ratio=uncond_ratio, snr_gamma=snr_gamma)
    model.clear_gradients(set_to_zero=False)
    objective(model, make_batch(0, 1, 2, 3)).backward()
    whole = gradients(model)
    assert whole
    model.clear_gradients(set_to_zero=False)
    for index in range(0, 4, 2):
        (objective(model, make_batch(index, index + 1)) / 2).backward()
    parts = gradients(model)
    assert set(parts) == set(whole)
    for name, gradient in whole.items():
        np.testing.assert_allclose(parts[name], gradient, atol=1e-3 * np.abs(gradient).max() + 1e-8, err_msg=name)


def test_all_samples_of_a_step_are_with_reference_or_without(make_objective):
    objective = make_objective(samples_per_step=4, uncond_ratio=0.3)
    flags = [objective.is_unconditional(index) for index in range(4000)]
    assert all(len(set(flags[start : start + 4])) == 1 for start in range(0, 4000, 4))
    assert 0.25 < np.mean(flags) < 0.35


def test_step_without_reference_sees_black_pixels_and_no_features(make_objective, make_batch, model, parts):
    objective = make_objective(uncond_ratio=1.0)
    batch = make_batch(0, 1)
    with paddle.no_grad():
        black = parts[1](paddle.zeros([2, 3, 224, 224])).image_embeds.unsqueeze(1)
        np.testing.assert_array_equal(objective.embed(batch, True), black)
        loss = float(objective(model, batch))
        batch["clip_pixel_values"] = batch["clip_pixel_values"] + 1
        assert float(objective(model, batch)) == loss
        assert float(make_objective(uncond_ratio=0.0)(model, batch)) != loss


def test_noise_is_normal_with_an_offset_that_frames_share(make_objective):
    indices, shape = list(range(64)), [64, 4, 3, 6, 6]
    noise, timesteps = make_objective(noise_offset=0.0).draw_noise(indices, shape)
    assert noise.shape == shape
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    shifted, again = make_objective(noise_offset=0.5).draw_noise(indices, shape)
    assert timesteps.tolist() == again.tolist()
    difference = (shifted - noise).numpy()
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :, :1, :1, :1], shape), atol=1e-5)
    assert abs(difference[:, :, 0, 0, 0].std() - 0.5) < 0.06
    assert 0 <= min(timesteps.tolist()) < 100 < 900 < max(timesteps.tolist()) < 1000


def test_latents_are_drawn_for_each_sample_by_itself(make_objective, make_batch):
    with paddle.no_grad():
        both = make_objective().encode(make_batch(0, 5), [0, 5])
        alone = make_objective().encode(make_batch(5), [5])
    for together, single in zip(both, alone):
        np.testing.assert_allclose(together[1:], single, atol=1e-4)
    assert both[0].shape == [2, 4, 2, 10, 9]
    assert both[1].shape == [2, 4, 10, 9]


def test_what_is_frozen_learns_nothing(make_objective, make_batch, model, parts):
    make_objective()(model, make_batch(0, 1)).backward()
    assert all(parameter.grad is None for part in parts for parameter in part.parameters())


def test_batch_is_described_by_its_clips_and_timesteps(make_objective, make_batch):
    objective, batch = make_objective(), make_batch(6, 7)
    _, timesteps = objective.draw_noise([6, 7], [2, 4, 2, 10, 9])
    expected = [f"{clip} at timestep {step}" for clip, step in zip(batch["clips"], timesteps.tolist())]
    assert objective.describe(batch) == ", ".join(expected)
    assert batch["clips"][0].endswith(".mp4")


def test_loss_of_places_is_added_while_they_are_led(make_objective, make_batch, model):
    batches = {step: make_batch(2 * step, 2 * step + 1) for step in (1, 3, 4, 5)}
    added = {}
    with paddle.no_grad():
        for step, batch in batches.items():
            plain = float(make_objective(uncond_ratio=0.0)(model, batch))
            led = [
                float(make_objective(uncond_ratio=0.0, places=lead(model.denoising_unet, weight, 4))(model, batch))
                for weight in (0.5, 1.0, 1.5)
            ]
            assert led[2] - led[1] == pytest.approx(led[1] - led[0], abs=1e-5)
            added[step] = led[1] - led[0], 2 * led[0] - led[1] - plain  # by the loss, and by what is led
    assert added[1][0] > 0.05 and abs(added[1][1]) > 1e-4
    assert added[3][0] > 0.01 and abs(added[3][1]) < 1e-5
    assert added[4] == added[5] == (0, 0)


def test_places_count_nothing_in_a_step_without_reference(make_objective, make_batch, model):
    places, batch = lead(model.denoising_unet, 0.5, 4), make_batch(0, 1)
    with paddle.no_grad():
        led, plain = (
            float(make_objective(uncond_ratio=1.0, **more)(model, batch)) for more in ({"places": places}, {})
        )
    assert led == plain
