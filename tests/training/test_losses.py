"""What training minimises, by closed forms. The original's numbers are in the goldens."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.losses import (
    CLEAN,
    add_offset,
    mean_squared_error,
    min_snr_weights,
    signal_to_noise,
    target_of,
)
from tests.conftest import RELEASED_SCHEDULE


def test_offset_is_shared_by_frames_and_places():
    noise, offset = paddle.zeros([2, 4, 3, 5, 6]), paddle.randn([2, 4, 1, 1, 1])
    shifted = add_offset(noise, offset, 0.5)
    assert shifted.shape == noise.shape
    np.testing.assert_allclose(shifted, np.broadcast_to(0.5 * offset.numpy(), shifted.shape))


def test_ratio_of_signal_to_noise_falls_to_zero():
    scheduler = make_scheduler("DDIM", RELEASED_SCHEDULE)
    ratios = signal_to_noise(scheduler, paddle.arange(1000)).numpy()
    assert (np.diff(ratios) < 0).all()
    assert ratios[-1] == 0
    alpha_bar = scheduler.alphas_cumprod.numpy().astype("float64")
    np.testing.assert_allclose(ratios[100], alpha_bar[100] / (1 - alpha_bar[100]), rtol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_weights_bound_the_ratio(gamma):
    snr = paddle.to_tensor([0.0, 0.5, 4.0, 4.5, 1000.0])
    weights = min_snr_weights(snr, gamma).numpy()
    np.testing.assert_allclose(weights * (snr.numpy() + 1), np.minimum(snr.numpy() + 1, gamma), rtol=1e-6)
    assert weights[0] == 1  # where there is only noise
    of_clean = min_snr_weights(snr, gamma, CLEAN).numpy()
    np.testing.assert_allclose(of_clean, weights * (snr.numpy() + 1), rtol=1e-6)


def test_weighted_error_is_the_same_of_a_velocity_and_of_the_latents_it_stands_for():
    scheduler, timesteps = make_scheduler("DDIM", RELEASED_SCHEDULE), paddle.to_tensor([10, 400, 990])
    latents, noise, wrong = paddle.randn([3, 3, 4, 8])
    noisy = scheduler.add_noise(latents, noise, timesteps)
    alpha = scheduler.alphas_cumprod[timesteps].reshape([3, 1, 1]).sqrt()
    clean = alpha * noisy - (1 - alpha**2).sqrt() * wrong  # what `wrong` as a velocity stands for
    snr = signal_to_noise(scheduler, timesteps)
    velocity = scheduler.get_velocity(latents, noise, timesteps)
    of_velocity = mean_squared_error(wrong, velocity, min_snr_weights(snr, 5.0))
    of_clean = mean_squared_error(clean, latents, min_snr_weights(snr, 5.0, CLEAN))
    np.testing.assert_allclose(float(of_clean), float(of_velocity), rtol=1e-3)


def test_target_is_what_the_schedule_says():
    latents, noise = paddle.randn([2, 2, 4])
    timesteps = paddle.to_tensor([10, 990])
    found = {}
    for kind in ("v_prediction", "epsilon", "sample"):
        scheduler = make_scheduler("DDIM", {**RELEASED_SCHEDULE, "prediction_type": kind})
        found[kind] = target_of(scheduler, latents, noise, timesteps)
    alpha = scheduler.alphas_cumprod[timesteps].reshape([2, 1]).sqrt()
    np.testing.assert_allclose(found["v_prediction"], alpha * noise - (1 - alpha**2).sqrt() * latents, atol=1e-6)
    np.testing.assert_array_equal(found["epsilon"], noise)
    np.testing.assert_array_equal(found["sample"], latents)


def test_error_is_weighted_by_sample():
    prediction = paddle.to_tensor([[2.0, 1.0], [3.0, 6.0], [5.0, 5.0]]).reshape([3, 2, 1])
    target = paddle.to_tensor([[1.0, 4.0], [5.0, 4.0], [5.0, 5.0]]).reshape([3, 2, 1])
    assert float(mean_squared_error(prediction, target)) == pytest.approx((5 + 4 + 0) / 3)
    weights = paddle.to_tensor([0.5, 0.25, 7.0])
    assert float(mean_squared_error(prediction, target, weights)) == pytest.approx((2.5 + 1 + 0) / 3)


def test_error_of_half_precision_is_taken_in_full():
    prediction = paddle.full([1, 4], 300.0).astype("float16")
    loss = mean_squared_error(prediction, paddle.zeros([1, 4], "float16"))
    assert loss.dtype == paddle.float32
    assert float(loss) == 90000  # which fp16 does not have


def test_error_of_a_batch_is_the_mean_of_its_samples():
    """So that the steps of an accumulation add up to the batch."""
    prediction, target, weights = paddle.randn([4, 3, 2]), paddle.randn([4, 3, 2]), paddle.rand([4])
    parts = [float(mean_squared_error(*(x[i : i + 1] for x in (prediction, target, weights)))) for i in range(4)]
    assert float(mean_squared_error(prediction, target, weights)) == pytest.approx(np.mean(parts), rel=1e-6)
