"""Padding, order and batch size change nothing; files come back whole; warnings and refusals."""

from __future__ import annotations

import csv
import json

import jax
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from medjax import evaluate as ev
from medjax.metrics import mae, psnr, ssim, tables
from medjax.types import ConfigError, DataError, NonFiniteError

METRICS = {"psnr": psnr, "ssim": ssim, "mae": mae}
N, SIDE = 11, 32
NAMES = [f"film_{i:02d}.png" for i in range(N)]
COLUMNS = {"patient": [f"p{i}" for i in range(N)], "sex": list("MFMFMFMFMFM"), "age": [*range(10, 110, 10), None]}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(N, SIDE, SIDE, 1)), (0, 4, 4, 0))
    target = np.clip(0.5 + 2 * smooth, 0, 1)
    noise = rng.normal(size=target.shape) * np.linspace(0.03, 0.1, N)[:, None, None, None]
    return np.clip(target + noise, 0, 1).astype(np.float32), target.astype(np.float32)


def _batches(images, size=4):
    source, target = images
    for start in range(0, len(source), size):
        index = np.minimum(np.arange(start, start + size), len(source) - 1).astype(np.int32)
        mask = np.arange(start, start + size) < len(source)
        yield {"source": source[index] * 2 - 1, "target": target[index] * 2 - 1, "index": index, "mask": mask}


@jax.jit
def _predict(batch, key):
    x = batch["source"]
    return {"target": (x + 0.5 * (jax.numpy.roll(x, 1, 1) + jax.numpy.roll(x, 1, 2))) / 2}


def _blur(image):
    return ndimage.gaussian_filter(image, (1, 1, 0))


def _evaluate(images, *, size=4, **options):
    options = {"metrics": METRICS, "columns": COLUMNS, "baselines": {"gaussian": _blur, "nlm": np.sqrt}, **options}
    predict = options.pop("predict", _predict)
    return ev.evaluate(predict, _batches(images, size), key=jax.random.key(0), names=NAMES, progress=False, **options)


@pytest.fixture(scope="module")
def evaluation(images):
    return _evaluate(images)


def test_scores_are_those_of_each_image_alone(evaluation, images):
    source, target = images
    assert evaluation.names == NAMES and list(evaluation.scores) == ["input", "gaussian", "nlm", "model"]
    for i in range(N):
        expected = peak_signal_noise_ratio(target[i], source[i], data_range=1)
        assert evaluation.scores["input"]["psnr"][i] == pytest.approx(expected, abs=1e-3)
        expected = peak_signal_noise_ratio(target[i], _blur(source[i]), data_range=1)
        assert evaluation.scores["gaussian"]["psnr"][i] == pytest.approx(expected, abs=1e-3)
    assert evaluation.columns == COLUMNS and evaluation.warnings == []


def test_batch_size_and_padding_change_nothing_and_predict_sees_no_target(evaluation, images):
    def predict(batch, key):
        assert set(batch) == {"source", "index"}
        return _predict(batch, key)

    for size in (3, 11):
        other = _evaluate(images, size=size, predict=predict)
        for row, metrics in evaluation.scores.items():
            for name, values in metrics.items():
                np.testing.assert_allclose(other.scores[row][name], values, rtol=2e-5)


def test_outputs_are_clipped_before_they_are_scored(images):
    far = _evaluate(images, predict=lambda batch, key: {"target": np.full_like(batch["source"], 7.0)})
    expected = -10 * np.log10(np.mean((1 - images[1]) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(far.scores["model"]["psnr"], expected, rtol=1e-4)


def test_examples_are_the_best_the_median_and_the_worst(evaluation, images):
    examples, values = evaluation.examples, evaluation.scores["model"]["psnr"]
    order = np.argsort(values)[::-1]
    assert examples["names"].tolist() == [NAMES[i] for i in (*order[:2], *order[4:6], *order[-2:])]
    assert examples["ranks"].tolist() == ["best", "best", "median", "median", "worst", "worst"]
    assert str(examples["baseline"]) == "gaussian"
    for k, i in enumerate(NAMES.index(name) for name in examples["names"]):
        np.testing.assert_allclose(examples["target"][k], images[1][i], atol=1e-6)
        np.testing.assert_allclose(examples["best_baseline"][k], _blur(images[0][i]), atol=1e-5)
        again = psnr(examples["model"][k : k + 1], examples["target"][k : k + 1])
        assert float(again[0]) == pytest.approx(values[i], rel=1e-4)


def test_summary_is_the_design_and_survives_the_disk(evaluation, tmp_path):
    protocol = {"resolution": (SIDE, SIDE), "baselines": {"gaussian": {"sigma": np.float32(1)}}, "note": "x"}
    summary = ev.summarise(evaluation, protocol=protocol, dataset="synthetic", split="test", by="sex")
    assert {"dataset", "split", "n", "protocol", "rows", "versions"} <= set(summary) and summary["n"] == N
    entry, values = summary["rows"]["model"]["psnr"], evaluation.scores["model"]["psnr"]
    assert entry["mean"] == pytest.approx(values.mean()) and entry["std"] == pytest.approx(values.std(ddof=1))
    assert entry["ci95"][0] < entry["mean"] < entry["ci95"][1] and entry["n"] == N
    assert summary["protocol"]["resolution"] == [SIDE, SIDE] and "Wang" in summary["protocol"]["ssim"]
    gain = summary["differences"]["best_baseline"]
    assert gain["row"] == summary["best_baseline"] == "gaussian"
    assert gain["psnr"]["mean"] == pytest.approx((values - evaluation.scores["gaussian"]["psnr"]).mean())
    assert summary["by"]["groups"]["F"]["rows"]["input"]["psnr"]["n"] == 5
    ev.write(evaluation, tmp_path / "run", summary=summary)
    ev.write(evaluation, tmp_path / "run", summary=summary)  # again, over it
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["evaluation.csv", "evaluation.json", "examples.npz"]
    again, back = ev.read(tmp_path / "run")
    assert again == summary == json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert back.names == evaluation.names and back.columns["patient"] == COLUMNS["patient"]
    for row, metrics in evaluation.scores.items():
        for name, column in metrics.items():
            np.testing.assert_array_equal(back.scores[row][name], column)
    np.testing.assert_array_equal(back.examples["model"], evaluation.examples["model"])
    with open(tmp_path / "run" / "evaluation.csv", newline="") as file:
        assert next(csv.reader(file))[:6] == ["name", "patient", "sex", "age", "input.psnr", "input.ssim"]


def test_table_always_shows_input_baselines_n_and_intervals(evaluation):
    summary = ev.summarise(evaluation, protocol={}, dataset={"name": "synthetic"}, split="test", by="age")
    text = ev.table(summary)
    for row in ("input", "gaussian", "nlm", "model"):
        line = next(line for line in text.splitlines() if line.startswith(f"| {row} "))
        assert line.count("[") == 3 and line.rstrip(" |").endswith("11")
    assert "gaussian (best baseline)" in text and "model minus input" in text and "unknown (n = 1)" in text
    assert "0 to under 18 (n = 1)" in text and "80 and over (n = 3)" in text


def test_uncertainty_that_knows_the_error_and_uncertainty_that_does_not(images):
    source, target = images
    spread = 2 * np.abs(np.asarray(_predict({"source": source * 2 - 1}, None)["target"]) / 2 + 0.5 - target)

    def sample(batch, key, scale=spread):
        return {"target": 0.2 * scale[np.asarray(batch["index"])] * jax.random.normal(key, batch["source"].shape)}

    good = _evaluate(images, sample=sample, num_samples=12).uncertainty
    blind = _evaluate(images, sample=lambda b, k: sample(b, k, np.ones_like(spread)), num_samples=12)
    assert good["rank_correlation"].mean() > 0.8 and np.all(good["ause"] < 0.5 * good["ause_random"])
    assert abs(blind.uncertainty["rank_correlation"].mean()) < 0.05
    np.testing.assert_allclose(blind.uncertainty["ause"], blind.uncertainty["ause_random"], atol=0.1)
    summary = ev.summarise(blind, protocol={}, dataset="d", split="test")
    assert summary["uncertainty"]["ause"]["n"] == N and len(summary["uncertainty"]["sparsification"]["curve"]) == 20
    assert "rank_correlation" in ev.table(summary) and blind.examples["std"].shape == blind.examples["model"].shape


def test_shuffled_pairs_are_called_out(images):
    source, target = images
    with pytest.warns(UserWarning, match="shuffled pairs"):
        evaluation = _evaluate((source, np.roll(target, 3, axis=0)))
    summary = ev.summarise(evaluation, protocol={}, dataset="d", split="test")
    assert "shuffled pairs" in summary["warnings"][0] and "WARNING" in ev.table(summary)


def test_super_resolution_has_no_input_row(images):
    small = images[0][:, ::2, ::2]
    baselines = {"nearest": lambda image: image.repeat(2, 0).repeat(2, 1)}
    predict = lambda batch, key: {"target": jax.numpy.repeat(jax.numpy.repeat(batch["source"], 2, 1), 2, 2)}
    evaluation = _evaluate((small, images[1]), predict=predict, baselines=baselines)
    assert list(evaluation.scores) == ["nearest", "model"]
    np.testing.assert_allclose(evaluation.scores["nearest"]["psnr"], evaluation.scores["model"]["psnr"], rtol=1e-5)
    assert set(ev.summarise(evaluation, protocol={}, dataset="d", split="test")["differences"]) == {"best_baseline"}


def test_one_perfect_image_gives_valid_json(images, tmp_path):
    one = tuple(part[:1] for part in (images[1], images[1]))
    evaluation = _evaluate(one, predict=lambda batch, key: {"target": batch["source"]}, baselines=None)
    summary = ev.summarise(evaluation, protocol={}, dataset="d", split="test", by="sex")
    ev.write(evaluation, tmp_path, summary=summary)
    assert summary["rows"]["model"]["psnr"] == {"mean": 100.0, "std": None, "ci95": None, "n": 1}
    assert "| model | 100.00" in ev.table(summary) and summary["differences"]["input"]["psnr"]["p_value"] == 1


def test_refusals(images, evaluation, tmp_path):
    def broken(batch, key):
        return {"target": np.where((batch["index"] == 6)[:, None, None, None], np.nan, batch["source"])}

    with pytest.raises(NonFiniteError, match="film_06.png"):
        _evaluate(images, predict=broken)
    with pytest.raises(DataError, match="split is empty"):
        ev.evaluate(_predict, [], key=jax.random.key(0), names=[], progress=False)
    with pytest.raises(ConfigError, match="no column 'view'.*patient, sex, age"):
        ev.summarise(evaluation, protocol={}, dataset="d", split="test", by="view")
    with pytest.raises(DataError, match="no complete evaluation"):
        ev.read(tmp_path)


def test_cases_and_groups_at_their_corners():
    assert tables.cases(np.array([3.0]), 2) == {0: "best"}
    assert tables.cases(np.array([1.0, 3.0, 2.0]), 1) == {1: "best", 2: "median", 0: "worst"}
    many = tables.groups("dose", np.arange(100.0))
    assert [int(mask.sum()) for mask in many.values()] == [25, 25, 25, 25]
    assert {k: v.tolist() for k, v in tables.groups("view", ["PA", "AP", "PA"]).items()} == {
        "AP": [False, True, False],
        "PA": [True, False, True],
    }
