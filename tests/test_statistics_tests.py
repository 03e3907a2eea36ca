"""BCa, Wilcoxon, McNemar, Holm, Friedman and DeLong against scipy, published worked examples and definitions by pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medjax.metrics import hypothesis, roc, statistics
from medjax.types import DataError

# Darwin's pairs of cross- and self-fertilised Zea mays, in eighths of an inch (Fisher 1935, sec. 17)
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])


def test_bca_agrees_with_scipy_and_leans_where_the_values_do():
    values = np.random.default_rng(0).lognormal(0, 1, size=60)
    found = statistics.bootstrap_interval(values, method="bca", resamples=20_000)
    reference = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert found == pytest.approx(tuple(reference), rel=0.02)
    plain = statistics.bootstrap_interval(values, resamples=20_000)
    assert (found > plain).all()  # a long tail to the right pulls both ends there
    symmetric = np.concatenate([-values, values])
    same = [statistics.bootstrap_interval(symmetric, method=m, resamples=20_000) for m in ("bca", "percentile")]
    np.testing.assert_allclose(*same, atol=0.02)


def test_bca_at_the_edges():
    np.testing.assert_array_equal(statistics.bootstrap_interval([2.0, 2.0, 2.0], method="bca"), [2, 2])
    assert np.isnan(statistics.bootstrap_interval([2.0], method="bca")).all()
    assert np.isfinite(statistics.bootstrap_interval([0.0, 1.0], method="bca")).all()
    with pytest.raises(ValueError, match="'bca', not 'studentized'"):
        statistics.bootstrap_interval([1.0, 2.0], method="studentized")


def test_bca_misses_on_both_sides_of_a_skewed_population():
    """The percentile interval of exponential values lies too low: the true mean is above it far more often than below."""
    rng, above, held = np.random.default_rng(1), dict.fromkeys(("bca", "percentile"), 0), 0
    for _ in range(400):
        values = rng.exponential(size=25)
        for method in above:
            low, high = statistics.bootstrap_interval(values, method=method, resamples=500)
            above[method] += high < 1
            held += method == "bca" and low <= 1 <= high
    assert above["bca"] < above["percentile"] and held >= 0.89 * 400


def test_units_are_averaged_first():
    means = statistics.unit_means([1.0, 2.0, 4.0, np.nan, np.nan], ["b", "a", "b", "a", "c"])
    np.testing.assert_array_equal(means, [2.5, 2.0, np.nan])
    with pytest.raises(ValueError, match="2 units cannot be those of 3"):
        statistics.unit_means([1, 2, 3], ["a", "b"])


def test_wilcoxon_of_darwins_plants():
    """The sums 24 and 96, p = 0.0413, as in Hollander and Wolfe's treatment and in scipy's documentation."""
    found = hypothesis.wilcoxon(DARWIN, np.zeros(15))
    assert found["statistic"] == 24 and found["p_value"] == pytest.approx(0.041259765625)
    assert found["effect"] == pytest.approx((96 - 24) / 120) and found["n"] == 15
    assert hypothesis.wilcoxon(np.zeros(15), DARWIN)["effect"] == pytest.approx(-found["effect"])


@pytest.mark.parametrize("n", [4, 20, 50, 51, 300])
def test_wilcoxon_equals_scipy(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.2, 1, n), rng.normal(0, 1, n)
    reference = stats.wilcoxon(a, b, method="exact" if n <= 50 else "approx", correction=False)
    found = hypothesis.wilcoxon(a, b)
    assert found["statistic"] == pytest.approx(reference.statistic)
    assert found["p_value"] == pytest.approx(reference.pvalue, rel=1e-9)


def test_wilcoxon_with_ties_and_zeros():
    a = np.array([3, 1, 1, 2, -2, 0, 5, 1, 0, -1, 4])
    signs = stats.wilcoxon(a, method=stats.PermutationMethod(n_resamples=np.inf))
    found = hypothesis.wilcoxon(a, np.zeros(11))
    assert found["p_value"] == pytest.approx(signs.pvalue) and found["n"] == 9
    many = np.random.default_rng(0).integers(-3, 5, 120)
    reference = stats.wilcoxon(many, method="approx", correction=False)
    assert hypothesis.wilcoxon(many, np.zeros(120))["p_value"] == pytest.approx(reference.pvalue, rel=1e-9)
    assert hypothesis.wilcoxon([1.0, 2.0], [1.0, 2.0])["p_value"] == 1
    assert hypothesis.wilcoxon([1.0, np.nan], [0.0, 1.0])["n"] == 1


def test_wilcoxon_over_patients_is_that_of_their_means():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 10)
    a, b = rng.normal(size=12)[patients] + rng.normal(0, 0.1, 120), np.zeros(120)
    found = hypothesis.wilcoxon(a, b, units=patients)
    assert found["n"] == 12
    assert found["p_value"] == pytest.approx(stats.wilcoxon(a.reshape(12, 10).mean(1)).pvalue)
    assert hypothesis.wilcoxon(a, b)["p_value"] < found["p_value"]  # images counted as if independent


def pairs_of(both, only_a, only_b, neither):
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    return a, np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])


def test_mcnemar_of_the_approval_ratings():
    """Agresti 2002, table 10.1: 150 and 86 changed their mind among 1,600; z^2 = 17.36 without correction."""
    a, b = pairs_of(794, 150, 86, 570)
    plain = hypothesis.mcnemar(a, b, method="chi2", correction=False)
    assert plain["statistic"] == pytest.approx(17.36, abs=0.005) and plain["n"] == 1600
    assert plain["p_value"] == pytest.approx(stats.chi2.sf(64**2 / 236, 1))
    corrected = hypothesis.mcnemar(a, b, method="chi2")
    assert corrected["statistic"] == pytest.approx(63**2 / 236) and corrected["p_value"] > plain["p_value"]
    exact = hypothesis.mcnemar(a, b)
    assert exact["p_value"] == pytest.approx(stats.binomtest(86, 236).pvalue, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_exact_mcnemar_is_the_binomial_test(only_a, only_b):
    a, b = pairs_of(3, only_a, only_b, 2)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    found = hypothesis.mcnemar(a, b)
    assert found["p_value"] == pytest.approx(expected, rel=1e-9)
    assert (found["only_a"], found["only_b"]) == (only_a, only_b)
    assert 0 <= hypothesis.mcnemar(a, b, method="chi2")["p_value"] <= 1
    each = hypothesis.mcnemar(a, b, units=range(len(a)))["p_value"]
    assert each == pytest.approx(expected, rel=1e-9), "a patient for each image is the same test, however many there are"


def test_mcnemar_over_patients():
    """Copies of an image are no evidence; the corrected chi^2 is the one without when each patient has an image."""
    a, b = pairs_of(3, 9, 2, 4)
    patients = np.repeat(np.arange(18), 5)
    for method in ("exact", "chi2"):
        once = hypothesis.mcnemar(a, b, method=method, units=range(18), correction=False)
        copied = hypothesis.mcnemar(np.repeat(a, 5), np.repeat(b, 5), method=method, units=patients)
        assert copied["p_value"] == pytest.approx(once["p_value"]) and copied["n"] == 18
    assert hypothesis.mcnemar(a, b, method="chi2", units=range(18))["statistic"] == pytest.approx(7**2 / 11)
    assert hypothesis.mcnemar(np.repeat(a, 5), np.repeat(b, 5))["p_value"] < 1e-3
    with pytest.raises(ValueError, match="'exact' or 'chi2'"):
        hypothesis.mcnemar(a, b, method="mid-p")


def test_holm_by_hand():
    # 0.005 x 4, 0.01 x 3, 0.03 x 2; 0.04 x 1 is below its predecessor and takes its value
    np.testing.assert_allclose(hypothesis.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(hypothesis.holm([0.6, np.nan, 0.5]), [1.0, np.nan, 1.0])
    assert hypothesis.holm([]).size == 0 and hypothesis.holm([0.2])[0] == 0.2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_does(p_values):
    rejected, open_ = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    while open_ and p_values[open_[0]] <= 0.05 / len(open_):
        rejected.add(open_.pop(0))
    adjusted = hypothesis.holm(p_values)
    near = np.abs(adjusted - 0.05) < 1e-9
    assert {i for i in np.flatnonzero(adjusted <= 0.05)} - set(np.flatnonzero(near)) == rejected - set(np.flatnonzero(near))


def test_friedman_equals_scipy_and_demsars_critical_difference():
    """Demsar 2006, sec. 3.2.2: four classifiers on 14 data sets, q 2.569, CD = 1.25."""
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(14, 4)) + np.arange(4) * 0.4, 1)  # with ties
    found = hypothesis.friedman(scores)
    reference = stats.friedmanchisquare(*scores.T)
    assert found["statistic"] == pytest.approx(reference.statistic) and found["p_value"] == pytest.approx(reference.pvalue)
    assert found["critical_difference"] == pytest.approx(1.25, abs=0.005)
    np.testing.assert_allclose(found["mean_ranks"], np.mean([stats.rankdata(-row) for row in scores], 0))
    copied = hypothesis.friedman(np.repeat(scores, 3, axis=0), units=np.repeat(np.arange(14), 3))
    assert copied["n"] == 14 and copied["statistic"] == pytest.approx(found["statistic"])
    assert hypothesis.friedman(np.ones((5, 3)))["p_value"] == 1
    with pytest.raises(ValueError, match="at least 2 blocks"):
        hypothesis.friedman(np.ones((1, 3)))


# Areas under the ROC curve


def ratings():
    """Hanley and McNeil 1982, table I: 58 normal and 51 abnormal CT images, rated 1 to 5 by one reader."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    scores = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (normal, abnormal)])
    return np.repeat([0, 1], [58, 51]), scores


def test_the_area_of_hanley_and_mcneils_reader():
    """The 109 readings of Hanley and McNeil 1982, whose area is 0.893; 0.0307 is DeLong's standard error of it."""
    found = roc.delong(*ratings())
    assert found["auc"] == pytest.approx(0.8932, abs=5e-5) and found["std"] == pytest.approx(0.0307, abs=5e-5)
    assert found["n"] == [51, 58] and 0.80 < found["ci95"][0] < 0.84 and 0.93 < found["ci95"][1] < 0.95
    labels, scores = ratings()
    u = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert roc.auc(labels, scores) == pytest.approx(u / (58 * 51))


def delong_by_pairs(labels, rows):
    """DeLong et al. 1988, eq. 5 to 8, written out over pairs."""
    v10, v01 = [], []
    for row in rows:
        x, y = row[labels == 1], row[labels == 0]
        kernel = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        v10.append(kernel.mean(1))
        v01.append(kernel.mean(0))
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


@pytest.mark.parametrize("rounded", [False, True])
def test_delong_of_two_correlated_areas_is_its_definition(rounded):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [70, 40]))
    signal = labels + rng.normal(0, 0.8, 110)
    rows = np.stack([signal + rng.normal(0, 0.5, 110), signal + rng.normal(0, 1.2, 110)])
    rows = np.round(rows) if rounded else rows  # ties
    expected = delong_by_pairs(labels, rows)
    np.testing.assert_allclose(roc.covariance(labels, rows), expected, rtol=1e-10)
    found = roc.delong_test(labels, *rows)
    std = np.sqrt(expected[0, 0] + expected[1, 1] - 2 * expected[0, 1])
    assert found["std"] == pytest.approx(std) and found["z"] == pytest.approx(found["difference"] / std)
    assert found["p_value"] == pytest.approx(2 * stats.norm.sf(abs(found["z"])))
    assert found["difference"] == pytest.approx(roc.auc(labels, rows[0]) - roc.auc(labels, rows[1]))
    json.dumps([found, roc.delong(labels, rows[0])], allow_nan=False)


def test_delong_is_calibrated_where_two_areas_are_one():
    rng, rejected = np.random.default_rng(0), 0
    labels = np.repeat([0, 1], [60, 40])
    for _ in range(400):
        signal = labels + rng.normal(0, 1, 100)
        rejected += roc.delong_test(labels, *(signal + rng.normal(0, 0.7, (2, 100))))["p_value"] < 0.05
    assert 0.02 <= rejected / 400 <= 0.085


def test_areas_over_patients():
    """Copies add nothing; images of one patient that resemble each other widen the error, as their bootstrap does."""
    labels, scores = ratings()
    once, patients = roc.delong(labels, scores), np.repeat(np.arange(109), 3)
    copied = roc.delong(np.repeat(labels, 3), np.repeat(scores, 3), units=patients)
    assert (copied["auc"], copied["std"]) == pytest.approx((once["auc"], once["std"]))
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 5)
    labels = (rng.normal(size=60)[patients] + rng.normal(0, 1, 300)) > 0.3  # both classes within a patient
    scores = labels + rng.normal(0, 1, 60)[patients] + rng.normal(0, 0.5, 300)
    areas = []
    for _ in range(600):
        drawn = (rng.integers(60, size=60)[:, None] * 5 + np.arange(5)).ravel()
        areas.append(roc.auc(labels[drawn], scores[drawn]))
    found = roc.delong(labels, scores, units=patients)["std"]
    assert found == pytest.approx(np.std(areas), rel=0.1)
    assert abs(roc.delong(labels, scores)["std"] / np.std(areas) - 1) > 0.15  # images alone get it wrong


def test_areas_at_the_edges():
    perfect = roc.delong([0, 0, 1, 1], [1, 2, 3, 4])
    assert perfect["auc"] == 1 and perfect["std"] == 0 and perfect["ci95"] is None
    assert roc.delong_test([0, 0, 1, 1], [1, 2, 3, 4], [10, 20, 30, 40])["p_value"] == 1
    assert roc.delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])["p_value"] is None
    with pytest.raises(DataError, match="both classes: 3 of 3"):
        roc.auc([1, 1, 1], [1, 2, 3])
    with pytest.raises(DataError, match="score 1 .* not finite"):
        roc.auc([0, 1], [0.5, np.nan])
    with pytest.raises(DataError, match="2 units of each class, not 1 positive"):
        roc.delong([0, 0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="2 labels cannot be those of 3"):
        roc.auc([0, 1], [1, 2, 3])
