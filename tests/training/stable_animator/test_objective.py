"""The loss of a batch of StableAnimator: what is drawn from what, that parts add up, and gradient checkpointing."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.training.stable_animator.model import StableAnimatorModel, freeze, sigma_of, stratify
from ppdiffusers_ext.training.stable_animator.objective import StableObjective, collate
from tests.pipelines.stable_animator.test_pipeline import pipeline

__all__ = ["pipeline"]  # a fixture

SIDE = 128


@pytest.fixture(scope="module")
def model(pipeline):
    model = StableAnimatorModel(pipeline.unet, pipeline.pose_net, pipeline.face_encoder)
    freeze(model)
    model.train()
    yield model
    model.eval()


def sample(index):
    random = np.random.default_rng(index)
    pictures = random.uniform(-1, 1, (5, 3, SIDE, SIDE)).astype(np.float32)
    return {
        "pixel_values": pictures[:2],
        "pose_pixels": pictures[2:4],
        "face_masks": (random.random((2, 1, SIDE, SIDE)) < 0.3).astype(np.float32),
        "joints": np.zeros((3, 18, 3), np.float32),
        "reference_image": pictures[4],
        "face_embedding": random.standard_normal(512).astype(np.float32),
        "index": index,
        "clip": f"clip {index}",
        "failures": [f"failure {index}"] if index == 3 else [],
    }


def batch_of(*indices):
    batch = collate([sample(index) for index in indices])
    return {key: paddle.to_tensor(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}


def make(pipeline, samples_per_step=2, seed=5, **options):
    return StableObjective(pipeline.vae, pipeline.image_encoder, seed, samples_per_step, **options)


def gradients(model, objective, *batches):
    model.clear_gradients()
    losses = [objective(model, batch) for batch in batches]
    for loss in losses:
        loss.backward()
    return [float(loss) for loss in losses], {
        name: parameter.grad.numpy() for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def test_loss_follows_from_the_samples_numbers_and_the_seed(pipeline, model):
    first = float(make(pipeline)(model, batch_of(0, 1)))
    assert float(make(pipeline)(model, batch_of(0, 1))) == first
    assert float(make(pipeline, seed=6)(model, batch_of(0, 1))) != first
    assert make(pipeline).describe(batch_of(0, 3)).startswith("clip 0 at sigma ")
    assert batch_of(0, 3)["failures"] == ["failure 3"]


def test_parts_of_a_batch_add_up(pipeline, model):
    objective = make(pipeline)
    (whole,), of_whole = gradients(model, objective, batch_of(2, 3))
    parts, of_parts = gradients(model, objective, batch_of(2), batch_of(3))
    assert np.mean(parts) == pytest.approx(whole, rel=1e-5)
    assert of_whole.keys() == of_parts.keys()
    largest = max(np.abs(each).max() for each in of_whole.values())
    for name, gradient in of_whole.items():
        assert np.abs(gradient - of_parts[name] / 2).max() < 1e-4 * largest, name


def test_checkpointing_changes_no_gradient(pipeline, model):
    objective = make(pipeline)
    (loss,), plain = gradients(model, objective, batch_of(0))
    model.unet.enable_gradient_checkpointing()
    try:
        (again,), recomputed = gradients(model, objective, batch_of(0))
    finally:
        model.unet.disable_gradient_checkpointing()
    assert loss == again and plain.keys() == recomputed.keys()
    largest = max(np.abs(each).max() for each in plain.values())
    for name, gradient in plain.items():
        assert np.abs(gradient - recomputed[name]).max() <= 1e-6 * largest, name


def test_only_what_learns_has_gradients(pipeline, model):
    _, found = gradients(model, make(pipeline, dropout=0.0), batch_of(0))
    assert {name.split(".")[0] for name in found} == {"unet", "pose_net", "face_encoder"}
    assert all("attentions" in name for name in found if name.startswith("unet."))
    learning = {name for name, parameter in model.named_parameters() if not parameter.stop_gradient}
    assert set(found) == learning


def test_sigmas_of_a_step_are_spread(pipeline):
    objective = make(pipeline, samples_per_step=8)
    sigmas = [objective.draw_sigma(index) for index in range(8, 16)]
    assert sigmas == sorted(sigmas, reverse=True) and sigmas[0] > 3 > 0.3 > sigmas[-1]
    bounds = sigma_of(np.arange(9) / 8)
    assert all(low <= sigma <= high for low, sigma, high in zip(bounds[1:], sigmas, bounds))
    assert np.allclose(stratify([0.5, 0.5]), [0.25, 0.75])


def test_smaller_resolutions_of_the_noise_are_more_noise():
    uniform = np.linspace(0.01, 0.99, 50)
    usual, more = sigma_of(uniform), sigma_of(uniform, (8, 16))
    np.testing.assert_array_equal(usual, sigma_of(uniform, (32, 64)))
    assert np.all(more > 1.5 * usual) and np.median(more / usual) == pytest.approx(4, rel=0.1)
