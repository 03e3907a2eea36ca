"""A classifier's judgement of sets of images: rows against counts, pairing by name, gaps, baselines, sets that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from medjax.build import judgement as build_judgement
from medjax.build.judgement import ImageSet
from medjax.data.phantom import radiograph
from medjax.metrics import hypothesis, judgement, judgement_table
from medjax.metrics.judgement import Answers
from medjax.report import judgement as page
from medjax.types import CheckpointError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")
CLASSES = ("normal", "COPD signs")
N = 80
LABEL = np.arange(N) % 2
NAMES = [f"image {i}" for i in range(N)]
PATIENTS = [f"patient {i}" for i in range(N)]


def answers(right, *, names=NAMES, patients=PATIENTS, seed=0):
    """A classifier that decides as `right` says, its confidence drawn."""
    sure = 0.5 + 0.5 * np.random.default_rng(seed).random(N)
    p = np.where(np.asarray(right, int) == LABEL, sure, 1 - sure)  # of class 1 where label and right agree
    return Answers(LABEL, np.stack([1 - p, p], 1), names, patients)


@pytest.fixture(scope="module")
def found():
    """Low quality 45 of 80 right, enhanced 60, high quality (other patients) 72."""
    order = np.random.default_rng(1).permutation(N)
    right = lambda count: order < count  # noqa: E731
    others = {"names": [f"high {i}" for i in range(N)], "patients": [f"other {i}" for i in range(N)]}
    enhanced = answers(right(60), seed=1)
    shuffled = Answers(*([column[i] for i in order] for column in enhanced))  # told in another order
    sets = {"low": answers(right(45)), "high": answers(right(72), **others), "led": shuffled}
    return judgement.judge(sets, CLASSES, positive="COPD signs", resamples=400), sets, right


def test_rows_are_counts(found):
    told, _, right = found
    for name, count in (("low", 45), ("high", 72), ("led", 60)):
        row, hit = told["rows"][name], right(count)
        assert row["accuracy"]["mean"] == pytest.approx(count / N) and row["n"] == N and row["majority"] == 0.5
        assert row["sensitivity"]["mean"] == pytest.approx(hit[LABEL == 1].mean())
        assert row["specificity"]["mean"] == pytest.approx(hit[LABEL == 0].mean())
        assert row["balanced_accuracy"]["mean"] == pytest.approx((hit[LABEL == 1].mean() + hit[LABEL == 0].mean()) / 2)
        assert row["accuracy"]["ci95"][0] < count / N < row["accuracy"]["ci95"][1]
    assert told["rows"]["led"]["class_counts"] == {"normal": 40, "COPD signs": 40}


def test_images_are_paired_by_name_and_not_by_order(found):
    told, _, right = found
    test = told["tests"]["led"]
    assert (test["mcnemar"]["only_a"], test["mcnemar"]["only_b"]) == (15, 0)
    assert test["mcnemar"]["p_value"] == pytest.approx(hypothesis.mcnemar(right(60), right(45))["p_value"], rel=1e-9)
    assert test["mcnemar_holm"] == test["mcnemar"]["p_value"], "one test needs no adjustment"
    assert set(told["tests"]) == {"led"}, "the two ends are not enhanced"
    closed = told["gap"]["led"]["accuracy"]
    assert closed["value"] == pytest.approx((60 - 45) / (72 - 45)) and not closed["paired"]


def test_labels_dealt_at_random_are_what_a_coin_gets(found):
    told = found[0]["chance"]
    assert told["high"]["mean"] == pytest.approx(0.5, abs=0.01) and told["high"]["p_value"] == pytest.approx(1 / 1001)
    assert told["low"]["p_value"] > 0.05 and told["low"]["ci95"][0] < 0.5 < told["low"]["ci95"][1]


def test_a_patients_images_are_dealt_together():
    """Ten patients with eight images each: the labels fall on patients, as whoever has a finding has it in each image."""
    label, patients = np.repeat(np.arange(10) % 2, 8), np.repeat(np.arange(10), 8)
    right = np.stack([label == 0, label == 1], 1).astype(float)
    each = judgement.Answers(label, right, [f"{i}" for i in range(80)], [f"p{k}" for k in patients])
    dealt = judgement._dealt(label, each.patients, 500, np.random.default_rng(0)).reshape(500, 10, 8)
    assert (dealt == dealt[..., :1]).all() and (dealt[..., 0].sum(1) == 5).all() and len(np.unique(dealt[..., 0], axis=0)) > 100
    alone = judgement.chance(each._replace(patients=each.names))["ci95"]
    together = judgement.chance(each)["ci95"]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_a_judge_that_was_never_trained_names_the_command(tmp_path):
    with pytest.raises(CheckpointError, match="judge is absent: medjax train --config=NAME --workdir=.*judge makes it"):
        build_judgement.judge(tmp_path / "judge", {})


def test_tables(found):
    told, sets, _ = found
    text = judgement_table.table(told, names={"led": "LED"})
    line = next(line for line in text.splitlines() if line.startswith("| LED"))
    assert "0.750" in line and "56%" in line and "images each; there are 80 and 80" in text
    html = "".join(page.blocks(told, strong=("led",)))
    assert "gap closed" in html and "balanced accuracy" in html.lower()
    unpaired = sets["led"]._replace(names=[f"x {i}" for i in range(N)])
    other = judgement.judge({**sets, "led": unpaired, "same": sets["low"]}, CLASSES, positive="normal", resamples=50)
    assert "not those of low" in other["tests"]["led"]["why"] and "led" not in other["gap"]
    assert other["tests"]["same"]["mcnemar"]["p_value"] == 1 and other["gap"]["same"]["accuracy"]["value"] == 0
    assert "led: its images are not those of low" in judgement_table.table(other)


def test_what_cannot_be_judged(found):
    _, sets, _ = found
    low, high = sets["low"], sets["high"]
    one = Answers(np.zeros(N, int), *low[1:])
    for bad, told in (
        ({"low": low, "high": one}, "'high' has images of normal alone"),
        ({"low": low}, "no set 'high'"),
        ({"low": low._replace(names=["a"] * N), "high": high}, "'low' holds a twice"),
        ({"low": low._replace(names=NAMES[:-1]), "high": high}, "79, 80 labels"),
        ({"low": low, "high": high, "led": low._replace(label=1 - LABEL)}, "image 0 has another label"),
    ):
        with pytest.raises(DataError, match=told):
            judgement.judge(bad, CLASSES, positive="normal", resamples=10)


def test_a_trained_classifier_judges_sets(trained_classifier):
    """Phantoms that it has not seen, at two doses; the enhanced ones are the low ones themselves."""
    findings = ("No Finding", "Mass", "Pneumonia")
    draw = lambda dose, first: [radiograph(9, i, size=32, dose=dose, finding=findings[i % 3]) for i in range(first, first + 9)]  # noqa: E731

    def as_set(phantoms, first):
        names = [f"phantom_9_{i:06d}" for i in range(first, first + 9)]
        return ImageSet(
            np.stack([p.image for p in phantoms])[..., None] / np.float32(65535), [p.finding for p in phantoms], names, names
        )

    low, high = as_set(draw(0.02, 0), 0), as_set(draw(1.0, 9), 9)
    told = build_judgement.judge(trained_classifier, {"low": low, "high": high, "led": low}, positive="Mass")
    assert told["rows"]["low"] == told["rows"]["led"] and told["rows"]["high"]["n"] == 9
    assert told["tests"]["led"]["mcnemar"]["p_value"] == 1
    for row in told["baselines"]["low"].values():
        assert set(row) == set(judgement.SHOWN)
    assert told["baselines"]["low"]["majority"]["balanced_accuracy"]["mean"] == pytest.approx(1 / 3)
    assert "–" in judgement_table.table(told)
    wrong = ImageSet(low.images, ["Hernia", *low.labels[1:]], low.names, low.patients)
    every = [ImageSet(low.images, low.labels, low.names, [f"phantom_0_{9 * k + i:06d}" for i in range(9)]) for k in range(3)]
    with pytest.raises(DataError, match="trained on .* patients of the set"):
        build_judgement.judge(trained_classifier, {"low": every[0], "high": every[1], "led": every[2]})
    with pytest.raises(DataError, match="nothing of 'Hernia'"):
        build_judgement.judge(trained_classifier, {"low": wrong, "high": high})
