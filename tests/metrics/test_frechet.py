"""Fréchet distances: closed forms, pytorch-fid's numbers and formula, and that the bits do not depend on the batch."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from safetensors.numpy import load_file

from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.metrics import frechet
from ppdiffusers_ext.metrics.frechet import Statistics, distance_of_moments, frechet_distance, interval

GOLDENS = Path(__file__).parents[1] / "goldens" / "metrics" / "inception_fid"
INPUTS, OUTPUTS = (load_file(GOLDENS / f"{name}.safetensors") for name in ("inputs", "outputs"))
CASES = ("well", "rank", "ill", "same")


def rows(count, size, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + seed).astype(np.float32)


def statistics(features, *cuts):
    made = Statistics(features.shape[1])
    for part in np.split(features, cuts):
        made.add(part)
    return made


def bits(made):
    return {name: array.tobytes() for name, array in made.to_arrays().items()}


@pytest.mark.parametrize("name", CASES)
def test_distance_is_that_of_pytorch_fid(name):
    a, b = (statistics(INPUTS[f"frechet.{name}.{letter}"]) for letter in "ab")
    scale = np.trace(a.covariance) + np.trace(b.covariance)
    found = frechet_distance(a, b)
    assert abs(found - OUTPUTS[f"frechet.{name}.exact"]) < 1e-10 * scale
    assert abs(found - OUTPUTS[f"frechet.{name}.pytorch_fid"]) < 1e-6 * scale


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_numpy(name):
    features = INPUTS[f"frechet.{name}.a"]
    made = statistics(features, 1, 3)
    np.testing.assert_allclose(made.mean, features.astype(np.float64).mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(made.covariance, np.cov(features.astype(np.float64), rowvar=False), atol=1e-12)


def test_distance_of_gaussians_in_one_dimension_and_along_axes():
    mean_a, mean_b = np.array([1.0, -2.0]), np.array([4.0, 2.0])
    a, b = np.array([4.0, 9.0]), np.array([1.0, 25.0])  # variances
    expected = 9 + 16 + (2 - 1) ** 2 + (3 - 5) ** 2
    assert distance_of_moments(mean_a, np.diag(a), mean_b, np.diag(b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [400, 65, 20])
def test_distance_is_that_of_the_general_root(count):
    a, b = statistics(rows(count, 64)), statistics(rows(count, 64, 1))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    by_root = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(by_root, rel=1e-4)


def test_the_same_rows_have_no_distance_and_it_is_the_same_both_ways():
    a, b = statistics(rows(30, 12)), statistics(rows(50, 12, 1))
    assert frechet_distance(a, statistics(rows(30, 12))) == 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_distance_grows_with_noise_and_with_a_shift():
    features, noise = rows(300, 12), 10 * np.random.default_rng(5).standard_normal((300, 12))
    truth = statistics(features)
    for change in (noise, np.ones((300, 12))):
        found = [frechet_distance(truth, statistics(features + part * change)) for part in (0, 0.1, 0.3, 1, 3)]
        assert found == sorted(found) and found[0] == 0 < found[1]


@pytest.mark.parametrize("cuts", [(1,), (255, 256, 257), tuple(range(0, 700, 7)), (600,)])
def test_bits_do_not_depend_on_how_rows_are_divided(cuts):
    features = rows(700, 9)
    assert bits(statistics(features, *cuts)) == bits(statistics(features))


def test_bits_of_merged_parts_do_not_depend_on_who_made_them():
    parts = np.split(rows(700, 9), [10, 300, 301])
    made = [statistics(part) for part in parts]
    both = []
    for order in (made, [Statistics.from_arrays(each.to_arrays()) for each in made]):
        total = Statistics(9)
        for each in order:
            total.merge(each)
        both.append(total)
    assert bits(both[0]) == bits(both[1]) and both[0].count == 700
    whole = statistics(rows(700, 9))
    np.testing.assert_allclose(both[0].covariance, whole.covariance, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(both[0].mean, whole.mean, rtol=1e-12)


def test_statistics_go_on_from_their_arrays_with_the_same_bits():
    features = rows(700, 9)
    stopped = Statistics.from_arrays(statistics(features[:333]).to_arrays())
    stopped.add(features[333:])
    assert bits(stopped) == bits(statistics(features))


def test_a_mean_far_from_zero_costs_no_digits():
    features = rows(500, 6).astype(np.float64)
    far, near = statistics(features + 1e7), statistics(features)
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-7, atol=1e-6)


def test_arrays_that_do_not_fit_together_are_refused():
    arrays = statistics(rows(5, 3)).to_arrays()
    for changed in (
        {"mean": np.zeros(2)},
        {"pending": np.zeros((1, 2))},
        {"count": np.zeros(1)},
        {"pending": np.zeros(3)},
        {"mean": np.zeros((3, 1))},
    ):
        with pytest.raises(ValueError, match="do not fit together"):
            Statistics.from_arrays({**arrays, **changed})
    with pytest.raises(ValueError, match="without 'scatter'"):
        Statistics.from_arrays({name: array for name, array in arrays.items() if name != "scatter"})


def test_too_few_rows_other_sizes_and_what_is_not_finite_are_refused():
    with pytest.raises(InputError, match="^there is 1 of 2 pictures or clips that a distribution needs at least$"):
        frechet_distance(statistics(rows(1, 3)), statistics(rows(5, 3)))
    with pytest.raises(InputError, match="^there are 0 of 1 pictures or clips"):
        Statistics(3).mean  # noqa: B018 (reading it is what is tested)
    assert statistics(rows(1, 3)).mean.tolist() == rows(1, 3)[0].tolist()
    with pytest.raises(ValueError, match="3 and 4 features"):
        frechet_distance(statistics(rows(5, 3)), statistics(rows(5, 4)))
    with pytest.raises(ValueError, match="4 features cannot be added to those of 3"):
        statistics(rows(5, 3)).merge(statistics(rows(5, 4)))
    with pytest.raises(ValueError, match=r"\(5, 3\); \(N, 4\) is needed"):
        Statistics(4).add(rows(5, 3))
    with pytest.raises(NonFiniteError, match="^features have values that are not finite numbers; no distance"):
        Statistics(3).add(np.array([[1, np.nan, 2]]))
    for features in (np.zeros(3), np.zeros((2, 3, 1))):
        with pytest.raises(ValueError, match=r"\(N, 3\) is needed"):
            Statistics(3).add(features)


def test_interval_holds_the_distance_and_is_the_same_again(tmp_path):
    a, b = rows(80, 6), rows(60, 6, 1)
    found = interval(a, b, repeats=30, seed=3)
    assert found.low < found.distance < found.high and found.repeats == 30
    assert found.distance == frechet_distance(statistics(a), statistics(b))
    on_disk = np.memmap(tmp_path / "a", np.float32, "w+", shape=a.shape)
    on_disk[:] = a
    assert interval(on_disk, b, repeats=30, seed=3) == found
    assert interval(a, b, repeats=30, seed=4) != found


def test_interval_is_that_of_the_normal_distribution_where_this_is_known():
    """Numbers around 3 and around 0: the distance is about 9, and its deviation 2 * 3 * (1/400 + 1/400) ** 0.5."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((400, 1)) + 3, rng.standard_normal((400, 1))
    deviation = 6 * np.sqrt(2 / 400)
    for level, deviations in ((0.95, 1.96), (0.5, 0.674)):
        found = interval(a, b, repeats=400, level=level)
        assert (found.high - found.low) / 2 == pytest.approx(deviations * deviation, rel=0.2)
        assert (found.high + found.low) / 2 == pytest.approx(found.distance, abs=0.25 * deviation)
    assert interval(a, b, repeats=20) == interval(a, b, repeats=20, seed=0, level=0.95)
    assert interval(a, b).repeats == 100


def test_interval_of_runs_that_are_alike_is_that_of_as_many_rows_as_runs():
    a, b = rows(40, 1), rows(40, 1, 1)
    repeated = [np.repeat(x, 10, axis=0) for x in (a, b)]
    by_run = interval(*repeated, repeats=200, groups=[[10] * 40, [10] * 40])
    single = interval(a, b, repeats=200)
    assert by_run.high - by_run.low == pytest.approx(single.high - single.low, rel=0.1)
    assert interval(*repeated, repeats=200).high - by_run.low < (by_run.high - by_run.low) / 1.5


def test_interval_does_not_begin_below_nothing():
    assert interval(rows(8, 2), rows(8, 2, 0)[::-1], repeats=20).low == 0


def test_rows_of_a_block_or_more_are_drawn_as_often_as_told():
    features = rows(600, 3)
    times = np.arange(600) % 4
    drawn = frechet._statistics(features, 3, times)
    assert drawn.count == times.sum()
    np.testing.assert_allclose(drawn.mean, np.repeat(features.astype(np.float64), times, axis=0).mean(0))


def test_merged_statistics_go_on_with_further_rows_and_leave_the_others_as_they_were():
    features = rows(40, 3)
    first, second = statistics(features[:15]), statistics(features[15:30])
    before = bits(second)
    first.merge(second)
    first.merge(Statistics(3))
    first.add(features[30:])
    assert first.count == 40 and bits(second) == before
    np.testing.assert_allclose(first.mean, features.astype(np.float64).mean(0), atol=1e-12)
    np.testing.assert_allclose(first.covariance, np.cov(features.astype(np.float64), rowvar=False), atol=1e-12)


def test_interval_is_narrower_for_more_rows():
    few, many = (interval(rows(n, 6), rows(n, 6, 1)[::-1], repeats=30) for n in (40, 1000))
    assert many.high - many.low < (few.high - few.low) / 2


def test_interval_of_few_rows_is_that_in_all_features(monkeypatch):
    a, b = rows(12, 40), rows(10, 40, 1)
    in_span = interval(a, b, repeats=5)
    assert in_span.low < in_span.distance < in_span.high  # though rows that are drawn twice make all draws larger
    monkeypatch.setattr(frechet, "_in_their_span", lambda *sets: sets)
    whole = interval(a, b, repeats=5)
    assert in_span.distance == pytest.approx(whole.distance, rel=1e-9)
    assert (in_span.low, in_span.high) == pytest.approx((whole.low, whole.high), rel=1e-9)


def test_interval_of_one_draw_is_refused():
    with pytest.raises(InputError, match="^1 draws of a bootstrap interval; 2 or more are accepted$"):
        interval(rows(5, 3), rows(5, 3), repeats=1)
    assert interval(rows(5, 3), rows(5, 3, 1), repeats=2).repeats == 2
