"""The share of a gap closed: exact values, paired and unpaired draws, undefined where there is no gap; two proportions."""

from __future__ import annotations

import numpy as np
import pytest

from medjax.metrics import gap
from medjax.metrics.gap import Scored
from medjax.types import DataError


def right(count, n):
    return np.arange(n) < count


def test_the_papers_table_closes_56_percent():
    low, enhanced, high = Scored(right(566, 1000)), right(663, 1000), Scored(right(739, 1000))
    found = gap.closed(low, enhanced, high)
    assert found["value"] == pytest.approx(97 / 173) and not found["paired"] and found["why"] == ""
    assert found["gap"]["mean"] == pytest.approx(0.173) and found["gain"]["mean"] == pytest.approx(0.097)
    lower, upper = found["gap"]["ci95"]  # independent sets: the normal approximation is close
    error = 1.96 * np.sqrt(0.566 * 0.434 / 1000 + 0.739 * 0.261 / 1000)
    np.testing.assert_allclose([lower, upper], [0.173 - error, 0.173 + error], atol=0.004)
    assert found["ci95"][0] < found["value"] < found["ci95"][1]
    assert found == gap.closed(low, enhanced, high), "seeded"


def test_no_gap_is_said():
    low, high = Scored(right(50, 100)), Scored(right(55, 100))
    found = gap.closed(low, right(60, 100), high)
    assert found["value"] is None and found["ci95"] is None and "holds 0" in found["why"]
    assert found["gain"]["mean"] == pytest.approx(0.1), "what was gained is told all the same"
    one = gap.closed(Scored([0], ["a"]), [1], Scored([1], ["a"]))
    assert one["value"] is None and "so few patients" in one["why"]


def test_shared_patients_are_drawn_together():
    rng = np.random.default_rng(0)
    patient = rng.normal(0, 5, 60)
    names = [f"p{i}" for i in range(60)]
    low, high = patient + rng.normal(0, 0.1, 60), patient + 1 + rng.normal(0, 0.1, 60)
    together = gap.closed(Scored(low, names), (low + high) / 2, Scored(high, names))
    apart = gap.closed(Scored(low, names), (low + high) / 2, Scored(high, [f"q{i}" for i in range(60)]))
    assert together["paired"] and not apart["paired"]
    assert together["value"] == pytest.approx(0.5) and np.ptp(together["ci95"]) < 0.02
    assert apart["value"] is None, "across other patients the gap of 1 drowns"
    some = gap.closed(Scored(low, names), high, Scored(high[:50], names[:50]))
    assert some["paired"], "who is in both sets is drawn for both"


def test_groups_make_the_balanced_accuracy():
    label = np.array(["no"] * 90 + ["yes"] * 10)
    low = np.r_[np.ones(90), np.zeros(10)]  # always the majority
    found = gap.closed(Scored(low, groups=label), np.r_[np.ones(90), right(5, 10)], Scored(np.ones(100), groups=label))
    assert found["gap"] == {"mean": 0.5, "ci95": [0.5, 0.5]} and found["value"] == pytest.approx(0.5)


def test_units_widen_the_interval():
    low, enhanced, high = right(100, 200)[::-1], right(150, 200), np.ones(200)
    alone = gap.closed(Scored(low), enhanced, Scored(high))
    ten = [i // 10 for i in range(200)]
    grouped = gap.closed(Scored(low, ten), enhanced, Scored(high, [f"h{i}" for i in ten]))
    assert np.ptp(grouped["gap"]["ci95"]) > 2 * np.ptp(alone["gap"]["ci95"])


def test_two_proportions_as_the_audit_has_them():
    for n, p in ((100, 0.16), (150, 0.083), (200, 0.045), (300, 0.014)):
        assert gap.two_proportions(0.663, 0.566, n, n)["p_value"] == pytest.approx(p, abs=0.006)
    assert gap.two_proportions(0.663, 0.566, 1000, 1000)["p_value"] < 1e-4
    assert gap.two_proportions(1.0, 1.0, 5, 5)["p_value"] == 1
    assert gap.half_width(0.566, 200) == pytest.approx(0.069, abs=5e-4)
    n = gap.images_needed(0.663, 0.566)
    rng = np.random.default_rng(0)  # what `power` promises, by simulation
    a, b = rng.binomial(n, 0.663, 20000) / n, rng.binomial(n, 0.566, 20000) / n
    z = (a - b) / np.sqrt((a + b) / 2 * (1 - (a + b) / 2) * 2 / n)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.02)
    sizes = gap.sizes_of((0.739, 0.566, 0.663))
    assert sizes[0] == 249 and 1000 in sizes and not {100, 200, 300, 400, 500} & set(sizes)


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="2 enhanced images cannot be those of 3"):
        gap.closed(Scored([0, 1, 1]), [1, 1], Scored([1]))
    with pytest.raises(DataError, match="1 patients cannot be those of 2 images"):
        gap.closed(Scored([0, 1], ["a"]), [1, 1], Scored([1]))
    with pytest.raises(DataError, match="no number of images"):
        gap.images_needed(0.5, 0.5)
    with pytest.raises(DataError, match="no two shares"):
        gap.two_proportions(1.2, 0.5, 10, 10)
