"""What the study of paper 004 concludes, from arithmetic and from measured tables that are given here."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import claims
from experiments.unpaired import verdicts_images, verdicts_paper
from medjax.metrics import anatomy, findings, judgement
from medjax.metrics.judgement import Answers


def judged(low, led, high, n=120):
    """A judgement in which so many of n are decided rightly."""
    label = np.arange(n) % 2
    names = [f"i{i}" for i in range(n)]

    def answers(right, prefix=""):
        p = np.where((np.arange(n) < right) == label, 0.8, 0.2)
        return Answers(label, np.stack([1 - p, p], 1), [prefix + name for name in names], [prefix + name for name in names])

    sets = {"low": answers(low), "led": answers(led), "gamma": answers(low), "high": answers(high, "h")}
    return judgement.judge(sets, ("normal", "COPD signs"), positive="COPD signs", resamples=200)


def moved(dice):
    n = len(dice)
    values = {name: np.full(n, 0.9) for name in anatomy.MEASURES} | {"dice": np.asarray(dice, float), "shift": np.zeros(n)}
    return anatomy.summarise(values)


def test_what_arithmetic_decides():
    rows = [
        verdicts_paper.closed_gap(), verdicts_paper.table_rows(), verdicts_paper.significance(), verdicts_paper.leak(),
        verdicts_paper.exposure(None), verdicts_paper.settings(), verdicts_paper.trainable(), verdicts_paper.start(),
        verdicts_paper.formulas(100), verdicts_paper.resampling(), verdicts_paper.data_sets(),
    ]  # fmt: skip
    found = {row.id: row for row in rows}
    assert len(found) == 11 and all(row.verdict in claims.VERDICTS for row in rows)
    assert found["gap"].verdict == "holds" and "56% of the gap" in found["gap"].ours
    assert "200: 0.046" in found["significant"].ours and "249 or more, of round ones only 1000" in found["significant"].ours
    assert "±6.9 points" in found["significant"].how
    assert "4,650 steps" in found["undertrained"].ours
    assert "t = 800: -28.0 dB, factor 0.040" in found["start"].ours or "t = 800: -28.1 dB, factor 0.039" in found["start"].ours
    assert found["start"].verdict == "fails" and found["formulas"].verdict == "holds"


def test_the_signal_at_a_step_and_the_formulas():
    ratio, factor = verdicts_paper.signal(800)
    assert ratio == pytest.approx(-28, abs=0.2) and factor == pytest.approx(0.039, abs=1e-3)
    assert verdicts_paper.signal(200)[0] == pytest.approx(2.8, abs=0.1)
    assert verdicts_paper.formula_error(500) < 1e-9


@pytest.mark.parametrize("led, word", [(100, "holds"), (60, "fails"), (63, "untestable")])
def test_improvement_is_judged_by_pairs(led, word):
    claim = verdicts_images.improves(judged(60, led, 110), row="led", real=True)
    assert claim.verdict == word and claim.n == 120 and "most frequent class 0.500" in claim.ours
    assert verdicts_images.improves(judged(60, led, 110), row="led", real=False).verdict == "untestable"


def test_a_gap_that_may_be_none_is_said():
    claim = verdicts_images.improves(judged(60, 62, 63), row="led", real=True)
    assert "undefined" in claim.ours and "holds 0" in claim.ours


def test_what_anatomy_and_findings_tell():
    found = judged(60, 100, 110)
    tally = findings.tally({"led": [1.0] * 9 + [0.0]}, {"led": [0.0] * 9 + [0.8]})
    known = {"led": moved([0.9] * 10), "truth": moved([0.88] * 10)}
    claim = verdicts_images.preserved(found, row="led", anatomy=known, findings=tally)
    assert "Dice 0.900 [0.900, 0.900] (of the truth itself by the same rule 0.880" in claim.ours
    assert (
        claim.verdict == "void" and "kept 90.0%" in claim.ours and "invented 10.0%" in claim.ours and "gamma 0.500" in claim.ours
    )
    steady, adrift = np.linspace(0.9, 0.99, 20), np.linspace(0.5, 0.7, 20)
    told = ((steady, adrift, "holds"), (adrift, steady, "fails"))
    for forth, back, word in (*told, (steady, steady, "untestable"), ([np.nan] * 20, steady, "untestable")):
        rows = {"led": moved(forth), "degraded": moved(back)}
        assert verdicts_images.hallucination(rows, row="led", backwards="degraded").verdict == word


@pytest.mark.parametrize("ends, word", [([0.1, 0.5], "holds"), ([-0.5, -0.1], "fails"), ([-0.1, 0.1], "untestable")])
def test_the_condition_is_judged_by_its_interval(ends, word):
    cell = {"mean": float(np.mean(ends)), "ci95": ends, "n": 8}
    claim = verdicts_images.condition({"x": {"psnr": cell}, "f(x)": {"psnr": cell}, "difference": cell})
    assert claim.verdict == word and claim.n == 8
