"""Random numbers of training: the same for a sample in whichever batch it is, others for another purpose or seed."""

import numpy as np

from ppdiffusers_ext.training.draws import Draws, make_batch


def test_noise_of_a_sample_does_not_depend_on_its_batch():
    draws = Draws(5)
    whole = draws.normals([3, 4, 5], "noise", (2, 3)).numpy()
    parts = [draws.normals([number], "noise", (2, 3)).numpy()[0] for number in (5, 3, 4)]
    assert whole.shape == (3, 2, 3) and whole.dtype == np.float32
    assert np.array_equal(whole, np.stack([parts[1], parts[2], parts[0]]))


def test_samples_purposes_and_seeds_have_numbers_of_their_own():
    drawn = [
        Draws(seed).rng(number, purpose).random()
        for seed in (0, 1)
        for number in (0, 1)
        for purpose in ("noise", "timestep", "noise2")
    ]
    assert len(set(drawn)) == len(drawn)


def test_batch_stacks_arrays_and_joins_failures():
    samples = [{"index": i, "clip": f"{i}.mp4", "failures": ["x"] * i, "pixels": np.full(2, i)} for i in (1, 2)]
    batch = make_batch(samples, ["pixels"])
    assert batch["pixels"].tolist() == [[1, 1], [2, 2]] and batch["index"].tolist() == [1, 2]
    assert batch["clips"] == ["1.mp4", "2.mp4"] and batch["failures"] == ["x", "x", "x"]
