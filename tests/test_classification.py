"""Metrics of classifiers against counting by hand: pairs for AUC, drawn patients for intervals, bins for calibration."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from medjax.metrics import classification as metrics
from medjax.metrics import hypothesis, roc
from medjax.types import DataError

CLASSES = ("a", "b", "c")
LABELS = np.array([0, 0, 1, 2, 1, 0, 2, 2, 1, 0])
PATIENTS = ["p", "p", "q", "r", "s", "t", "t", "u", "v", "w"]


def probabilities(seed=0, n=10, classes=3, digits=1):
    """Rounded, so that ties occur within an image and between images."""
    return np.round(np.random.default_rng(seed).dirichlet(np.ones(classes), n), digits)


def counted(labels, p):
    """Every metric of single labels by loops."""
    n, k = p.shape
    chosen = [max(range(k), key=lambda j: (p[i, j], -j)) for i in range(n)]
    sensitivity, specificity, auc = [], [], []
    for c in range(k):
        inside, outside = [i for i in range(n) if labels[i] == c], [i for i in range(n) if labels[i] != c]
        if not inside or not outside:
            sensitivity.append(np.mean([chosen[i] == c for i in inside]) if inside else np.nan)
            specificity.append(np.mean([chosen[i] != c for i in outside]) if outside else np.nan)
            auc.append(np.nan)
            continue
        sensitivity.append(np.mean([chosen[i] == c for i in inside]))
        specificity.append(np.mean([chosen[i] != c for i in outside]))
        auc.append(np.mean([(p[i, c] > p[j, c]) + 0.5 * (p[i, c] == p[j, c]) for i, j in itertools.product(inside, outside)]))
    gaps = 0.0
    for b in range(metrics.BINS):
        inside = [i for i in range(n) if b / metrics.BINS < p[i].max() <= (b + 1) / metrics.BINS]
        if inside:
            gaps += abs(sum((chosen[i] == labels[i]) - p[i].max() for i in inside))
    return {
        "accuracy": np.mean([chosen[i] == labels[i] for i in range(n)]),
        "balanced_accuracy": np.nanmean(sensitivity),
        "auc": np.nanmean(auc),
        "sensitivity": np.nanmean(sensitivity),
        "specificity": np.nanmean(specificity),
        "ece": gaps / n,
        "by_class": {"sensitivity": sensitivity, "specificity": specificity, "auc": auc},
    }


def assert_same(found, expected):
    for name in metrics.METRICS:
        assert found[name] == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name
    for name, values in expected["by_class"].items():
        np.testing.assert_allclose(found["by_class"][name], values, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(6))
def test_metrics_are_what_counting_gives(seed):
    p = probabilities(seed)
    assert_same(metrics.point(LABELS, p), counted(LABELS, p))


def test_a_class_that_is_absent_is_left_out_of_means():
    labels, p = np.where(LABELS == 2, 0, LABELS), probabilities(1)
    found = metrics.point(labels, p)
    assert np.isnan(found["by_class"]["sensitivity"][2]) and np.isnan(found["by_class"]["auc"][2])
    assert_same(found, counted(labels, p))
    only = metrics.point(np.zeros(10, int), p)
    assert np.isnan(only["auc"]) and only["balanced_accuracy"] == only["accuracy"]


def test_the_two_areas_of_two_classes_are_one():
    labels = LABELS % 2
    p = probabilities(2, classes=2, digits=2)
    p /= p.sum(1, keepdims=True)
    found = metrics.point(labels, p)
    assert found["auc"] == pytest.approx(roc.auc(labels, p[:, 1]))
    report = metrics.report(labels, p, ("no", "yes"), units=PATIENTS)
    expected = roc.delong(labels, p[:, 1], units=PATIENTS)
    assert report["auc"]["interval"] == "delong" and report["auc"]["se"] == expected["std"]
    assert report["auc"]["ci95"] == expected["ci95"] and "interval" not in report["accuracy"]


def test_intervals_draw_patients_with_all_their_images():
    """The same draws, made by repeating rows: the weighted arithmetic must give each resampled set's own metrics."""
    p = probabilities(3)
    places = {name: i for i, name in enumerate(dict.fromkeys(PATIENTS))}
    draws = np.random.default_rng(5).multinomial(len(places), np.full(len(places), 1 / len(places)), size=40)
    values = {name: [] for name in metrics.METRICS}
    for draw in draws:
        rows = [i for i, patient in enumerate(PATIENTS) for _ in range(draw[places[patient]])]
        found = counted(LABELS[rows], p[rows])
        for name in values:
            values[name].append(found[name])
    report = metrics.report(LABELS, p, CLASSES, units=PATIENTS, resamples=40, seed=5)
    for name, each in values.items():
        each = np.array(each)[np.isfinite(each)]
        assert report[name]["ci95"] == pytest.approx(list(np.quantile(each, (0.025, 0.975))), abs=1e-12), name
        assert report[name]["se"] == pytest.approx(each.std(ddof=1), abs=1e-12)
    assert report["by_class"]["b"]["sensitivity"]["n"] == 3 and report["by_class"]["b"]["specificity"]["n"] == 7
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_images_of_one_patient_widen_the_interval():
    """Ten images of each patient, all alike, say no more than one: over images the interval would be far too narrow."""
    labels, p = np.repeat(LABELS, 10), np.repeat(probabilities(4), 10, axis=0)
    patients = np.repeat(np.arange(10), 10)
    width = lambda cell: cell["ci95"][1] - cell["ci95"][0]  # noqa: E731
    over = {name: metrics.report(labels, p, CLASSES, units=units)["accuracy"] for name, units in (("p", patients), ("i", None))}
    once = metrics.report(LABELS, probabilities(4), CLASSES)["accuracy"]
    assert width(over["p"]) == pytest.approx(width(once), abs=0.06) and width(over["p"]) > 2 * width(over["i"])


def test_confusion_has_truth_in_rows():
    p = np.eye(3)[[0, 1, 1, 2, 1, 0, 2, 0, 1, 0]]
    found = metrics.confusion(LABELS, p)
    assert found.tolist() == [[3, 1, 0], [0, 3, 0], [1, 0, 2]] and found.sum() == 10
    assert metrics.correct(LABELS, p).tolist() == [1, 0, 1, 1, 1, 1, 1, 0, 1, 1]


def test_calibration_of_who_knows_and_of_who_boasts():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    p = np.stack([confidence, 1 - confidence], 1)
    honest = (rng.random(20_000) > confidence).astype(int)
    curve = metrics.reliability(honest, p)
    assert metrics.point(honest, p)["ece"] < 0.02 and curve["count"][:5].sum() == 0
    np.testing.assert_allclose(curve["accuracy"][5:], curve["confidence"][5:], atol=0.03)
    boast = metrics.point(rng.integers(2, size=20_000), np.tile([0.99, 0.01], (20_000, 1)))
    assert boast["ece"] == pytest.approx(0.49, abs=0.01)


def test_several_classes_in_an_image():
    hot = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0]])
    p = probabilities(7, n=6) * 1.3
    found, chosen = metrics.point(hot, p), p >= 0.5
    assert found["accuracy"] == pytest.approx((chosen == hot).mean())
    assert metrics.correct(hot, p) == pytest.approx((chosen == hot).mean(1))
    for k in range(3):
        one = metrics.point(hot[:, k], np.stack([1 - p[:, k], p[:, k]], 1))
        assert found["by_class"]["auc"][k] == pytest.approx(one["auc"])
        table = metrics.confusion(hot, p)[k]
        assert table.sum() == 6 and found["by_class"]["sensitivity"][k] == pytest.approx(table[1, 1] / table[1].sum())
        assert found["by_class"]["specificity"][k] == pytest.approx(table[0, 0] / table[0].sum())
    halves = [(s + t) / 2 for s, t in zip(found["by_class"]["sensitivity"], found["by_class"]["specificity"], strict=True)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(halves))


def test_two_classifiers_are_compared_by_the_tests_of_the_house():
    a, b = probabilities(8), probabilities(9)
    found = metrics.paired_tests(LABELS, a, b, CLASSES, units=PATIENTS)
    right = [metrics.correct(LABELS, p) for p in (a, b)]
    assert found["mcnemar"] == hypothesis.mcnemar(*right, units=PATIENTS)
    assert found["delong"]["c"] == roc.delong_test(LABELS == 2, a[:, 2], b[:, 2], units=PATIENTS)
    same = metrics.paired_tests(LABELS, a, a, CLASSES, units=PATIENTS)
    assert same["mcnemar"]["p_value"] == 1 and all(test["p_value"] == 1 for test in same["delong"].values())
    lonely = metrics.paired_tests(np.array([0, 1, 1, 1]), a[:4, :2], b[:4, :2], ("x", "y"))
    assert lonely["delong"] == {"x": None, "y": None}


def test_what_cannot_be_judged():
    p = probabilities()
    with pytest.raises(ValueError, match=r"labels \[9\] cannot be those of probabilities \[10, 3\]"):
        metrics.point(LABELS[:9], p)
    p[4, 1] = np.nan
    with pytest.raises(DataError, match="probabilities of image 4 are not finite"):
        metrics.report(LABELS, p, CLASSES)
    alone = metrics.report(np.array([1]), np.array([[0.2, 0.8]]), ("x", "y"))
    assert alone["accuracy"] == {"mean": 1.0, "se": None, "ci95": None, "n": 1} and alone["auc"]["mean"] is None
