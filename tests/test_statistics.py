"""Golden values from scipy and from counting; coverage; corners."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medjax.metrics import statistics


def test_bootstrap_agrees_with_scipy_and_with_the_normal_interval():
    values = np.random.default_rng(0).normal(30, 2, size=80)
    low, high = statistics.bootstrap_interval(values, resamples=5000)
    reference = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=0).confidence_interval
    assert (low, high) == pytest.approx(tuple(reference), abs=0.05)
    half = 1.96 * values.std(ddof=1) / np.sqrt(80)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08)
    assert tuple(statistics.bootstrap_interval(values)) == tuple(statistics.bootstrap_interval(values))


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [statistics.bootstrap_interval(rng.normal(size=30), resamples=400) for _ in range(300)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.94, abs=0.04)


def test_summary_of_few_values_is_valid_json():
    one = statistics.summary([31.5])
    assert one == {"mean": 31.5, "std": None, "ci95": None, "n": 1}
    assert statistics.summary([])["mean"] is None
    assert statistics.summary([1.0, np.nan, 3.0])["n"] == 2
    assert statistics.summary([1.0, 3.0])["std"] == pytest.approx(np.sqrt(2))
    json.dumps([one, statistics.summary([]), statistics.compare([1.0], [2.0])], allow_nan=False)


def test_exact_sign_flip_by_counting_and_by_scipy():
    # all five differences positive: only the two patterns of one sign are as extreme
    assert statistics.paired_permutation([2, 3, 4, 5, 6], [1, 1, 1, 1, 1]) == pytest.approx(2 / 32)
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 1, 11), rng.normal(0, 1, 11)
    reference = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert statistics.paired_permutation(a, b) == pytest.approx(reference)
    assert statistics.paired_permutation(b, a) == pytest.approx(reference)


def test_sampled_sign_flip_is_near_the_t_test_and_never_zero():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.25, 1, 60), rng.normal(0, 1, 60)
    assert statistics.paired_permutation(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert statistics.paired_permutation(a + 10, b) == pytest.approx(1 / (statistics.FLIPS + 1))
    assert statistics.paired_permutation(a, a) == 1
    assert statistics.paired_permutation([1.0], [0.0]) == 1


def test_compare_signs_and_wins():
    result = statistics.compare([3.0, 4.0, 2.0, np.nan], [1.0, 1.0, 3.0, 0.0])
    assert result["mean"] == pytest.approx(4 / 3) and result["wins"] == pytest.approx(2 / 3) and result["n"] == 3
    with pytest.raises(ValueError, match="3 and 2"):
        statistics.compare([1, 2, 3], [1, 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=30), st.integers(0, 99))
def test_spearman_equals_scipy_with_ties(values, seed):
    other = np.random.default_rng(seed).integers(0, 4, len(values))
    if len(set(values)) == 1 or len(set(other.tolist())) == 1:
        assert np.isnan(statistics.spearman(values, other))
    else:
        assert statistics.spearman(values, other) == pytest.approx(stats.spearmanr(values, other).statistic)


def test_sparsification_of_a_perfect_a_random_and_an_inverted_map():
    error = np.random.default_rng(0).exponential(size=(100, 100))
    perfect = statistics.map_quality(error, error**2)
    assert perfect["ause"] == pytest.approx(0, abs=1e-12) and perfect["rank_correlation"] == pytest.approx(1)
    noise = statistics.map_quality(error, np.random.default_rng(1).uniform(size=error.shape))
    assert noise["ause"] == pytest.approx(noise["ause_random"], rel=0.03)
    assert statistics.sparsification(error, -error)["ause"] > 1.5 * noise["ause_random"]
    # exponential errors: leaving out the share f leaves a mean of 1 + f ln f / (1 - f)
    f = perfect["fraction"][1:]
    np.testing.assert_allclose(perfect["oracle"][1:], 1 + f * np.log(f) / (1 - f), atol=0.02)
    assert perfect["curve"][0] == pytest.approx(1) and len(perfect["curve"]) == 20
    assert statistics.sparsification(np.zeros((4, 4)), np.ones((4, 4)))["ause"] == 0
