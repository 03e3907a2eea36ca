"""Comparison of runs: what is refused and why, what the table says, that the figures show it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from medjax import results
from medjax.build import compare_files
from medjax.build.compare import compare, direction, over_seeds
from medjax.figures import compare as figures
from medjax.figures.style import WIDTH, png
from medjax.metrics import hypothesis, statistics
from medjax.types import ConfigError, DataError

N = 24
BASE = np.random.default_rng(0).normal(32, 2, N)
NAMES = [f"image_{i:02d}.png" for i in range(N)]


def run(path, gain, *, seed=0, names=NAMES, patients=None, order=None, inputs=BASE - 3, features=None, **protocol):
    """An evaluated workdir whose model scores `BASE + gain` and a little noise of its seed."""
    order = np.arange(len(names)) if order is None else order
    values = BASE[: len(names)] + gain + np.random.default_rng(seed).normal(0, 0.3, len(names))
    model = {"psnr": values[order], "mae": 10 ** (-values[order] / 20), "spectrum_ratio": 1 + 0 * values}
    found = results.Evaluation([names[i] for i in order], {"model": model, "input": {"psnr": inputs[: len(names)][order]}})
    if patients is not None:
        found.columns = {"patient": [patients[i] for i in order]}
    stated = {"resolution": 256, "degradation": {"steps": ["blur"]}, "train_seed": seed, "checkpoint_step": 100 + seed}
    summary = {"dataset": "nih_cxr14", "split": "test", "n": len(names), "protocol": {**stated, **protocol}}
    summary["rows"] = {"input": {}, "model": {}}
    if features is not None:
        summary["features"] = {"model": {"fd/vgg16.relu5_3": {"value": features, "n": [N, N]}}}
    results.write(found, path, summary=summary)
    return path


def test_a_difference_is_paired_and_tested(tmp_path):
    a, b = run(tmp_path / "plain", 0.0, seed=1), run(tmp_path / "better", 0.4, seed=2)
    found = compare([a, b])
    x, y = (results.read(p)[1].scores["model"]["psnr"] for p in (b, a))
    cell = found["differences"]["better"]["psnr"]
    assert found["baseline"] == "plain" and list(found["runs"]) == ["plain", "better"]
    assert cell["mean"] == pytest.approx(np.mean(x - y)) and cell["n"] == N
    assert cell["p_value"] == statistics.paired_permutation(x, y)
    assert cell["p_wilcoxon"] == hypothesis.wilcoxon(x, y)["p_value"]
    assert cell["ci95"] == pytest.approx(list(statistics.bootstrap_interval(x - y)))
    assert cell["ci95_bca"] == pytest.approx(list(statistics.bootstrap_interval(x - y, method="bca")))
    assert cell["wins"] == np.mean(x > y) and cell["ci95_seeds"] is None
    lower = found["differences"]["better"]["mae"]
    assert lower["mean"] < 0 and lower["wins"] == cell["wins"]  # an error is better where it is smaller
    assert found["metrics"] == ["psnr", "mae"] and not found["ranks"] and not found["features"]
    assert found["protocol"] == {"resolution": 256, "degradation": {"steps": ["blur"]}}  # what both runs share


def test_p_values_are_adjusted_over_the_whole_table(tmp_path):
    runs = [run(tmp_path / f"r{i}", 0.15 * i, seed=i) for i in range(4)]
    found = compare(runs, metrics=["psnr", "spectrum_ratio"])
    cells = [cell for each in found["differences"].values() for cell in each.values()]
    np.testing.assert_allclose([c["p_adjusted"] for c in cells], hypothesis.holm([c["p_value"] for c in cells]))
    np.testing.assert_allclose([c["p_wilcoxon_adjusted"] for c in cells], hypothesis.holm([c["p_wilcoxon"] for c in cells]))
    assert cells[1]["wins"] is None and cells[1]["p_value"] == 1 and "spectrum_ratio" not in found["ranks"]
    scores = np.stack([results.read(p)[1].scores["model"]["psnr"] for p in runs], 1)
    assert found["ranks"]["psnr"]["units"] == json.loads(json.dumps(hypothesis.friedman(scores)))


def test_the_baseline_is_any_of_the_runs_or_another(tmp_path):
    a, b, c = (run(tmp_path / name, gain, seed=k) for k, (name, gain) in enumerate({"a": 0, "b": 1, "c": 2}.items()))
    assert list(compare([a, b], baseline=b)["runs"]) == ["b", "a"]
    assert list(compare([a, b], baseline=c)["differences"]) == ["a", "b"]
    assert compare([b], baseline=a)["baseline"] == "a"
    assert compare([a, b])["differences"]["b"]["psnr"]["mean"] == -compare([b, a])["differences"]["a"]["psnr"]["mean"]
    for runs in ([a], [a, a], [a, tmp_path / "b" / ".." / "a"]):
        with pytest.raises(ConfigError, match="two runs or more"):
            compare(runs)


def test_runs_of_one_name_are_told_apart(tmp_path):
    a, b = run(tmp_path / "x" / "main", 0), run(tmp_path / "y" / "main", 1, seed=1)
    assert list(compare([a, b])["runs"]) == ["x/main", "y/main"]


def test_images_in_another_order_are_paired_by_name(tmp_path):
    order = np.random.default_rng(1).permutation(N)
    a, b = run(tmp_path / "a", 0, seed=1), run(tmp_path / "b", 0.5, seed=2)
    shuffled = run(tmp_path / "c" / "b", 0.5, seed=2, order=order)
    assert compare([a, shuffled])["differences"] == compare([a, b])["differences"]


def test_patients_are_counted_where_one_has_several_images(tmp_path):
    patients = [f"p{i // 4}" for i in range(N)]
    a, b = (run(tmp_path / name, gain, seed=s, patients=patients) for name, gain, s in (("a", 0, 1), ("b", 0.3, 2)))
    found = compare([a, b], metrics=["psnr"])
    x, y = (results.read(p)[1].scores["model"]["psnr"].reshape(6, 4).mean(1) for p in (b, a))
    assert (found["unit"], found["n"], found["images"]) == ("patient", 6, N)
    assert found["differences"]["b"]["psnr"]["p_value"] == pytest.approx(statistics.paired_permutation(x, y))
    assert found["runs"]["b"]["psnr"]["std"] == pytest.approx(x.std(ddof=1))
    assert "6 patients, 24 images" in compare_files.markdown(found)
    single = [run(tmp_path / name, 0, seed=s, patients=NAMES) for name, s in (("c", 1), ("d", 2))]
    assert compare(single)["unit"] == "image"


def test_seeds_are_averaged_and_their_spread_reported(tmp_path):
    for name, gain in (("a", 0.0), ("b", 0.2), ("c", 1.0)):
        for seed in (0, 1, 10):
            more = gain + 0.3 * (seed == 10)
            run(tmp_path / name / f"seed_{seed}", more, seed=seed + 100 * (name == "b"), features=gain + seed)
    found = compare([tmp_path / name for name in "abc"])
    table = {s: results.read(tmp_path / "b" / f"seed_{s}")[1].scores["model"]["psnr"] for s in (0, 1, 10)}
    cell = found["runs"]["b"]
    assert cell["seeds"] == ["seed_0", "seed_1", "seed_10"]
    assert cell["psnr"]["by_seed"] == pytest.approx([v.mean() for v in table.values()])
    assert cell["psnr"]["seed_std"] == pytest.approx(np.std([v.mean() for v in table.values()], ddof=1))
    difference = found["differences"]["c"]["psnr"]  # the same noise: a gain of 1 on every image
    assert difference["mean"] == pytest.approx(1.0) and difference["ci95"] == pytest.approx([1.0, 1.0])
    assert difference["ci95_seeds"][0] < 0.95 and difference["ci95_seeds"][1] > 1.05  # a seed matters more than an image
    assert found["ranks"]["psnr"]["seeds"]["n"] == 3 and found["ranks"]["psnr"]["units"]["n"] == N
    assert found["features"]["fd/vgg16.relu5_3"]["c"] == {"mean": pytest.approx(1 + 11 / 3), "by_seed": [1, 2, 11], "n": [N, N]}
    text = compare_files.markdown(found)
    assert "seeds too" in text and "psnr, over 3 seeds" in text and "fd/vgg16.relu5_3" in text and "no test" in text


def test_the_interval_over_seeds_by_its_variance():
    """Independent seeds and images: the variances of the two kinds of drawing add, a little less the share of few seeds."""
    rng = np.random.default_rng(0)
    a = rng.normal(0, 0.5, (40, 1)) + rng.normal(0, 2, (1, 300)) + 1
    b = rng.normal(0, 0.5, (40, 1)) + rng.normal(0, 2, (1, 300))
    low, high = over_seeds(a, b)
    across = a.mean(0) - b.mean(0)
    expected = np.sqrt(a.mean(1).var() / 40 + b.mean(1).var() / 40 + across.var() / 300)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.06)
    assert (high + low) / 2 == pytest.approx(across.mean(), abs=0.05)
    same = over_seeds(a[:1], b[:1])
    assert same == pytest.approx(list(statistics.bootstrap_interval(a[0] - b[0])), abs=0.05)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"resolution": 128}, r"protocol.resolution \(256 and 128\)"),
        ({"degradation": {"steps": ["noise"]}}, r'protocol.degradation \(\{"steps": \["blur"\]\} and \{"steps": \["noise"\]\}\)'),
        ({"crop": "middle"}, r'protocol.crop \(null and "middle"\)'),
        ({"names": NAMES[:20]}, "20 test images in common of 24 and 20, 'image_20.png', 'image_21.png', ... only in .*one"),
        ({"names": [*NAMES[:23], "other.png"]}, "23 test images .* 'image_23.png' only in .*one, 'other.png' only in .*two"),
        ({"inputs": BASE - 4}, r"the input of 'image_00.png' has psnr 29\.\d+ in one and 28\.\d+ in the other"),
    ],
)
def test_runs_that_were_judged_differently_are_refused(tmp_path, change, said):
    with pytest.raises(DataError, match=f"one and .*two cannot be compared: .*{said}"):
        compare([run(tmp_path / "one", 0), run(tmp_path / "two", 1, seed=1, **change)])


def test_everything_that_differs_is_named_at_once_and_seeds_are_held_to_it(tmp_path):
    with pytest.raises(DataError, match="resolution.*; protocol.crop.*; 20 test images"):
        compare([run(tmp_path / "a", 0), run(tmp_path / "b", 0, resolution=64, crop=1, names=NAMES[:20])])
    run(tmp_path / "c" / "seed_0", 0), run(tmp_path / "c" / "seed_1", 0, resolution=64)
    with pytest.raises(DataError, match="seed_0 and .*seed_1 cannot be compared"):
        compare([tmp_path / "a", tmp_path / "c"])


def test_what_belongs_to_a_run_may_differ(tmp_path):
    a = run(tmp_path / "a", 0, training_data="nih_cxr14", predict_norm="batch", baselines={"nlm": 1})
    b = run(tmp_path / "b", 0, seed=3, training_data="phantom_cxr", predict_norm="running")
    assert set(compare([a, b])["protocol"]) == {"resolution", "degradation"}


def test_folders_rows_and_metrics_that_are_not_there(tmp_path):
    a, b = run(tmp_path / "a", 0), run(tmp_path / "b", 1, seed=1)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(DataError, match=f"{path.name} holds no evaluation.json.*medjax evaluate"):
            compare([a, path])
    with pytest.raises(ConfigError, match="'lpips_vgg' is not in every run; these are: psnr, mae"):
        compare([a, b], metrics=["lpips_vgg"])
    with pytest.raises(DataError, match="no row 'nlm'; it has model, input"):
        compare([a, b], row="nlm")
    assert compare([a, b], row="input")["differences"]["b"]["psnr"]["p_value"] == 1
    (b / "evaluation.csv").write_text("name,model.psnr\nx,1")
    (b / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="no complete evaluation"):
        compare([a, b])


def test_distances_of_other_weights_or_numbers_are_not_put_side_by_side(tmp_path):
    for name in "ab":
        run(tmp_path / name, 1.0, features=1.0)
    path = tmp_path / "b" / "evaluation.json"
    summary = json.loads(path.read_text())
    record = summary["features"]["model"]["fd/vgg16.relu5_3"]
    for change in ({"weights": "others"}, {"n": [N, 2 * N]}):
        path.write_text(json.dumps(summary | {"features": {"model": {"fd/vgg16.relu5_3": record | change}}}))
        assert not compare([tmp_path / "a", tmp_path / "b"])["features"]
    path.write_text(json.dumps(summary))
    assert compare([tmp_path / "a", tmp_path / "b"])["features"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("examples.npz", b"PK\x03\x04 cut"), ("evaluation.csv", b""), ("evaluation.csv", b"name,model.psnr\na\n"),
     ("evaluation.json", b"[]"), ("evaluation.json", b"{}")],
)  # fmt: skip
def test_damaged_result_files_are_told_in_one_sentence(tmp_path, name, content):
    run(tmp_path / "a", 1.0)
    (tmp_path / "a" / name).write_bytes(content)
    with pytest.raises(DataError, match="holds no complete evaluation"):
        results.read(tmp_path / "a")


def test_which_way_is_better():
    assert [direction(m) for m in ("psnr", "ssim_inside", "lpips_vgg", "mae_inside", "gradient_ratio")] == [1, 1, -1, -1, 0]


def test_the_files_hold_the_table(tmp_path):
    runs = [run(tmp_path / f"r{i}", 0.4 * i, seed=i) for i in range(3)]
    found = compare(runs, output=tmp_path / "out" / "deep")
    folder = tmp_path / "out" / "deep"
    assert {p.name for p in folder.iterdir()} == {f"comparison.{e}" for e in ("json", "csv", "md", "png")} | {"ranks.png"}
    assert json.loads((folder / "comparison.json").read_text()) == found
    rows = list(csv.DictReader(io.StringIO((folder / "comparison.csv").read_text())))
    assert [(r["run"], r["metric"]) for r in rows[:3]] == [("r0", "psnr"), ("r0", "mae"), ("r1", "psnr")]
    assert rows[0]["difference"] == "" and float(rows[2]["difference"]) == found["differences"]["r1"]["psnr"]["mean"]
    assert float(rows[2]["p_adjusted"]) == found["differences"]["r1"]["psnr"]["p_adjusted"]
    assert float(rows[2]["difference_bca_high"]) == found["differences"]["r1"]["psnr"]["ci95_bca"][1]
    text = (folder / "comparison.md").read_text()
    assert text == compare_files.markdown(found) and f"{found['runs']['r2']['psnr']['mean']:.2f} [" in text
    assert "-0.0000 " not in text and "nan" not in text.lower()
    compare(runs[:2], output=tmp_path / "two")
    assert not (tmp_path / "two" / "ranks.png").exists()


def test_one_image_and_equal_runs_still_make_a_table(tmp_path):
    a, b = run(tmp_path / "a", 0, names=NAMES[:1]), run(tmp_path / "b", 1, names=NAMES[:1])
    found = compare([a, b], output=tmp_path / "out")
    assert found["differences"]["b"]["psnr"]["p_value"] == 1 and found["differences"]["b"]["psnr"]["ci95"] is None
    a, b = run(tmp_path / "c", 0, seed=1), run(tmp_path / "d", 0, seed=1)
    same = compare([a, b], output=tmp_path / "out")["differences"]["d"]["psnr"]
    assert same["mean"] == 0 and same["p_value"] == same["p_wilcoxon"] == same["p_adjusted"] == 1 and same["wins"] == 0


# Figures


def every_figure():
    rng = np.random.default_rng(0)
    a, b = rng.normal(33, 2, 40), rng.normal(33, 2, 40)
    long = "a_study/of_the_published/attention_model"
    yield "pair", figures.paired({"wide": a}, b, "psnr", name="plain", intervals={"wide": (-0.2, 0.6)}, counted="patients")
    yield "long", figures.paired({long: a / 1e3, "b": a / 1e3}, b / 1e3, "mae", name=long, higher_is_better=False)
    yield "equal", figures.paired({"same": a}, a, "ssim", name="plain")
    yield "scatter", figures.scatter(a, b, "psnr", labels=("wide", "plain"))
    yield "agreement", figures.bland_altman(a, b, "ssim", labels=("wide", "plain"))
    ranks = {f"PSNR, over {n} seeds": hypothesis.friedman(rng.normal(size=(n, 7)) + np.arange(7) / 2) for n in (3, 30)}
    yield "ranks", figures.critical_difference(ranks, [long, *"bcdef", long + "_2"])


FIGURES = dict(every_figure())


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name):
    image = np.asarray(Image.open(io.BytesIO(png(FIGURES[name]))).convert("RGB"))
    assert image.shape[1] <= WIDTH * 150 + 1
    for edge in (image[:2], image[-2:], image[:, :2], image[:, -2:]):
        assert (edge > 200).all(), "something reaches the edge of the picture"


def test_figures_show_the_values_they_are_given():
    a, b = np.array([31.0, 33.0, 30.0, 35.0, np.nan]), np.array([30.0, 32.5, 31.0, 35.0, 30.0])
    scatter, agreement, histogram = figures.paired({"a": a}, b, "psnr", name="b").axes
    np.testing.assert_array_equal(scatter.lines[1].get_xydata(), np.stack([b, a], 1)[:4])
    assert scatter.get_xlim() == scatter.get_ylim() and [t.get_text() for t in scatter.texts] == ["50% above", "25% below"]
    np.testing.assert_allclose(agreement.lines[1].get_ydata(), [1, 0.5, -1, 0])
    spread = np.std([1, 0.5, -1, 0], ddof=1)
    heights = [line.get_ydata()[0] for line in agreement.lines[2:]]
    np.testing.assert_allclose(heights, [0.125, 0.125 - 1.96 * spread, 0.125 + 1.96 * spread])
    assert sum(p.get_height() for p in histogram.patches) == 4
    assert histogram.get_title(loc="left") == "2 better, 1 worse, 1 equal"
    worse = figures.paired({"a": a}, b, "mae", name="b", higher_is_better=False).axes[2]
    assert worse.get_title(loc="left") == "1 better, 2 worse, 1 equal"


def test_cliques_are_the_longest_stretches_within_reach():
    assert figures.cliques([1.0, 1.4, 2.0, 2.3, 4.0], 1.0) == [(0, 1), (1, 3)]
    assert figures.cliques([1.0, 1.1, 1.2], 1.0) == [(0, 2)]
    assert figures.cliques([1.0, 2.0, 3.0], 1.0) == []  # a difference equal to the critical one is one


def test_the_command_prints_the_table_and_says_where_the_files_are(capsys, tmp_path):
    from medjax.cli import main

    runs = [run(tmp_path / "a", 0.0), run(tmp_path / "b", 1.0, seed=1)]
    assert main(["compare", *map(str, runs), f"--output={tmp_path / 'out'}"]) == 0
    out = capsys.readouterr().out
    assert "p adjusted by Holm" in out and str(tmp_path / "out") in out
    assert main(["compare", str(runs[0])]) == 2
    assert "medjax: " in capsys.readouterr().err
