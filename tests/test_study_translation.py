"""The study of paper 002: its runs differ in what they say, its verdicts follow from figures, its page stands alone."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from experiments import claims as claim_rows
from experiments import common, mri_translation
from experiments.translation import lesions, misalignment, scores, verdicts, verdicts_pairing
from experiments.translation.runs import LAST, LEGS, RUNS, SCALES, Study, config_of
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks
from medjax.evaluate import Evaluation
from medjax.formats.volume import read_volume
from medjax.writers import read_metrics

IDS = [
    "epochs", "middle-slices", "pairing", "pairing-cost", "neighbours", "generator-input", "settings", "slice-counts", "metrics",
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory, quick_compile):
    """A whole study at tiny, on simulated heads alone."""
    workdir = tmp_path_factory.mktemp("study")
    assert mri_translation.main(["--scale=tiny", f"--workdir={workdir}", "--quiet"]) == 0
    return Study(workdir, "tiny", "phantom_mri", progress=False)


@pytest.mark.slow
def test_every_claim_has_a_verdict_with_its_figures(study):
    rows = {row["id"]: row for row in json.loads((study.workdir / "claims.json").read_text())}
    assert list(rows) == IDS
    for row in rows.values():
        assert set(row) == {"id", "claim", "paper", "ours", "n", "verdict", "how"}
        assert row["verdict"] in claim_rows.VERDICTS and row["how"] and "nan" not in row["ours"]
    for name in ("pairing-cost", "neighbours", "generator-input"):  # simulated heads cannot test a claim on people
        assert rows[name]["verdict"] == "untestable" and "simulated" in rows[name]["how"]
    assert [rows[name]["verdict"] for name in ("epochs", "middle-slices", "pairing")] == ["fails"] * 3
    assert rows["settings"]["verdict"] == "void" and rows["metrics"]["verdict"] == "untestable"


@pytest.mark.slow
def test_report_stands_alone_and_says_what_it_is_of(study):
    page = (study.workdir / "report.html").read_text()
    assert "These are simulated heads, not patients" in page and "falls short of" in page  # a few steps teach nothing
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    words = re.sub(r"<[^>]+>|data:image[^\"]+", " ", page)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", words)
    for run in study.runs:
        assert RUNS[run].label in words
    assert page.count("data:image/png;base64,") >= 9


@pytest.mark.slow
def test_legs_are_one_training(study):
    """The 10x leg holds the rows of the 1x and the 6x leg and goes on; only the number of steps differs."""
    rows = {leg: [r for r in read_metrics(study.folder("published", 0, leg)) if r["split"] == "train"] for leg in LEGS}
    assert [row["step"] for row in rows[LAST]] == list(range(1, 11))
    plain = lambda row: {k: v for k, v in row.items() if k != "time"}  # noqa: E731
    for leg in ("1x", "6x"):
        assert [plain(r) for r in rows[leg]] == [plain(r) for r in rows[LAST][: LEGS[leg]]]
    stored = [dict(configs.flatten(configs.to_json(configs.read(study.folder("published", 0, leg))))) for leg in LEGS]
    assert {k for k in stored[0] if len({str(s[k]) for s in stored}) > 1} == {"train.steps"}


@pytest.mark.slow
def test_finished_stages_are_read_back(study, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("computed again")

    for module, name in ((scores.build_evaluation, "load"), (scores.build_evaluation, "tuned_baselines"),
                         (misalignment, "measure"), (lesions, "count")):  # fmt: skip
        monkeypatch.setattr(module, name, forbidden)
    data = {run: build_data.open_data(config_of(study, run)) for run in study.runs}
    results = scores.gather(study, data)
    assert len(results.subjects) == 1 and set(results.legs) == set(LEGS)
    by_hand = results.evaluations["main"][0].scores["model"]["psnr_inside"].mean()
    assert results.mean("main", "psnr_inside")["mean"] == pytest.approx(by_hand)
    trained = {data["main"].source.records[i].patient for i in data["main"].splits["train"]}
    assert set(results.trained["main"].columns["patient"]) == trained and not trained & set(results.subjects)
    for run in study.compared:  # every run is scored on the same slices
        assert results.evaluations[run][0].names == results.evaluations["main"][0].names
    kept = common.kept(study.workdir / "misalignment.json", forbidden)
    everyone = {record.patient for record in data["main"].source.records}
    assert len(kept["subjects"]) == len(kept["planes"]) == study.scale.measured and set(kept["subjects"]) <= everyone


@pytest.mark.slow
def test_synthetic_volume_lies_on_the_grid_of_its_t1(study):
    made = json.loads((study.workdir / "volume.json").read_text())
    t1, synthetic = read_volume(made["t1"]), read_volume(study.workdir / made["output"])
    assert made["same_grid"] and t1.values.shape == synthetic.values.shape
    np.testing.assert_array_equal(t1.affine, synthetic.affine)
    assert (synthetic.values[t1.values == 0] == 0).mean() > 0.99 and synthetic.values.max() > 0


def test_runs_differ_in_what_they_say(tmp_path):
    for name, scale in SCALES.items():
        study = Study(tmp_path, name, "phantom_mri" if name == "tiny" else "mri_pairs")
        flat = {run: dict(configs.flatten(config_of(study, run))) for run in study.runs}
        assert {k for k in flat["main"] if flat["main"][k] != flat["l1_only"].get(k)} == {"method.name"}
        if "phantom" in flat:
            changed = {k for k, v in flat["phantom"].items() if flat["main"][k] != v}
            assert all(k.startswith(("data.", "train.")) for k in changed)
        for run in study.runs:
            networks.objective(config_of(study, run), 10)  # every combination can be built
        assert scale.steps["published"] % 10 == 0
        keep = ("fov_mm", "range_mm", "step_mm", "plane", "min_foreground")  # the same slices for every network
        for field in keep:
            found = {str(flat[run].get(f"data.{study.source}.{field}")) for run in study.compared}
            assert len(found) == 1, f"{name}: {field} {found}"


def test_published_rate_does_not_depend_on_the_length(tmp_path):
    """Only so is a run to a tenth of the schedule the beginning of the whole run."""
    for name in SCALES:
        config = config_of(Study(tmp_path, name), "published")
        params, gradient = {"w": np.ones(3, np.float32)}, {"w": np.full(3, 0.1, np.float32)}
        moved = []
        for steps in (10, 60, 100):
            optimiser = networks.optimizer(config, steps)
            state, values = optimiser.init(params), []
            for _ in range(10):
                update, state = optimiser.update(gradient, state, params)
                values.append(update["w"])
            moved.append(np.stack(values))
        np.testing.assert_array_equal(moved[0], moved[1])
        np.testing.assert_array_equal(moved[0], moved[2])


def test_missing_data_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    assert mri_translation.main(["--scale=small", f"--workdir={tmp_path}"]) == 1  # never phantoms unasked
    error = capsys.readouterr().err
    assert "MEDJAX_DATA" in error and error.count("\n") == 1
    assert mri_translation.main(["--scale=paper", f"--workdir={tmp_path}", f"--data_root={tmp_path}/none"]) == 1
    assert "none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_middle_of_a_stack_is_where_arithmetic_puts_it():
    assert verdicts.span(65, 85, 151, 1.0) == (-10, 10)
    low, high = verdicts.span(90, 110, 150, 1.2)
    assert (low, high) == pytest.approx((18.6, 42.6))
    assert verdicts_pairing.index_gap(90) == pytest.approx(25.5 * 1.25 - 15.5 * 1.2)
    row = verdicts.middle_slices()
    assert row.verdict == "fails" and "65-85 of 150" in row.ours and "55-75 of 130" in row.ours and "69-85%" in row.ours


def test_epochs_hold_only_where_a_card_could_run_them():
    assert verdicts.epochs(84e9).verdict == "fails" and "246 subjects x 20 slices" in verdicts.epochs(84e9).ours
    assert verdicts.epochs(1e9).verdict == "holds"  # 5,603 steps a second of a billion operations each


def results_of(main, monotone):
    """Results of two subjects with these scores in every metric."""
    metrics = ("psnr", "psnr_inside")
    columns = {"patient": ["a", "a", "b"]}
    of = lambda v: {m: np.array([v, v, v]) for m in metrics}  # noqa: E731
    maps = {"input": of(monotone - 5), "linear": of(monotone - 1), "monotone": of(monotone), "model": of(main)}
    return scores.Results(evaluations={"main": [Evaluation(["1", "2", "3"], maps, columns)]})


def found_of(per_mm, across):
    curve = {"mm": [1.0, 16.0], **{m: [per_mm, per_mm - 1.5] for m in misalignment.METRICS}}
    one = dict.fromkeys(misalignment.METRICS, across)
    return {"subjects": {"a": curve}, "blurred": {"a": curve}, "planes": {"a": one}, "neighbour": {"a": one}}


def test_verdicts_on_pairs_follow_from_the_scores(tmp_path):
    real, simulated = Study(tmp_path, "small", "mri_pairs"), Study(tmp_path, "tiny", "phantom_mri")
    results = results_of(main=23.0, monotone=20.0)
    bad, good = found_of(per_mm=18.0, across=12.0), found_of(per_mm=30.0, across=25.0)
    assert verdicts_pairing.pairing_cost(real, results, bad).verdict == "fails"
    assert verdicts_pairing.pairing_cost(real, results, good).verdict == "holds"
    assert verdicts_pairing.neighbours(real, results, bad).verdict == "fails"
    assert verdicts_pairing.neighbours(real, results, good).verdict == "holds"
    assert "4 mm away scores 29.7 dB" in verdicts_pairing.neighbours(real, results, good).ours
    for judge in (verdicts_pairing.pairing_cost, verdicts_pairing.neighbours):
        assert judge(simulated, results, good).verdict == "untestable"
    noisy, still = ({"pixel_std": a, "between_inputs": 0.1, "n": 5} for a in (0.2, 0.01))
    assert verdicts.generator_input(real, noisy).verdict == "holds"
    assert verdicts.generator_input(real, still).verdict == "fails"


def stack(shift=0.0, count=41, side=32):
    """A ball that becomes an ellipsoid upwards, 1 mm slices."""
    z, y, x = np.meshgrid(np.arange(count) - count // 2 + shift, *2 * [np.arange(side) - side / 2], indexing="ij")
    region = (x**2 + y**2 + (z / 2) ** 2 < 150).astype(np.float32)[..., None]
    values = (0.5 + 0.3 * np.sin(x / 3 + z / 6) * np.cos(y / 4))[..., None] * region
    position = np.arange(count) - count // 2.0
    return {"target": values.astype(np.float32), "region": region, "position": position, "pixel_mm": np.array(1.0)}


def test_a_perfect_predictor_pays_for_every_millimetre():
    slab = stack()
    found = misalignment.shifted(slab)
    assert found["mm"][0] == 1 and found["mm"][-1] >= 16
    assert all(np.diff(found["psnr_inside"][:6]) < 0) and found["psnr_inside"][0] > found["psnr_inside"][5] + 5
    # by hand: the slices 3 mm up and 3 mm down, inside the slice's own region
    pairs = [(i, j) for i in range(41) if abs(slab["position"][i]) <= 30 for j in (i + 3, i - 3) if 0 <= j < 41]
    error = [
        -10 * np.log10(np.mean((slab["target"][i] - slab["target"][j])[slab["region"][i] > 0] ** 2)) for i, j in pairs
    ]
    assert found["psnr_inside"][2] == pytest.approx(np.mean(error), abs=0.01)
    soft = misalignment.shifted(misalignment.blurred(slab))
    assert soft["psnr"][1] > found["psnr"][1] + 3  # an average template hides the cost
    curve = misalignment.curve({"subjects": {"a": {"mm": [2.0, 4.0], "psnr": [30.0, 20.0]}}}, "psnr")
    assert list(curve) == [2, 3, 4] and curve[3]["mean"] == 25


def test_the_papers_indices_meet_other_anatomy_in_the_other_plane():
    slab = stack()
    assert misalignment.share_of(90, 150) == pytest.approx(0.603, abs=1e-3)
    assert misalignment.share_of(90, 130) == pytest.approx(0.696, abs=1e-3)
    same = misalignment.scored(slab["target"], slab["target"], slab["region"])
    assert same["psnr"] == 100 and same["ssim"] == pytest.approx(1)
    turned = {**slab, "target": np.swapaxes(slab["target"], 1, 2)[::-1]}
    assert misalignment.across(slab, turned)["psnr"] < misalignment.shifted(slab)["psnr"][0] - 5


def test_lesions_are_kept_by_their_contrast_to_white_matter():
    target = np.full((5, 24, 24), 0.3, np.float32)
    target[:, :, 16:] = 0.9  # liquor, brighter than half of the brain: no surroundings
    numbers = np.zeros(target.shape, np.int16)
    numbers[2, 4:7, 4:7], numbers[2, 12:15, 12:15] = 1, 2
    target[numbers > 0] = 0.7
    target += np.random.default_rng(0).normal(0, 1e-3, target.shape).astype(np.float32)
    region = np.ones_like(target)
    dim = target.copy()
    dim[numbers == 2] = 0.3 + 0.4 * 0.4  # 40 % of its contrast
    shares = lesions.contrast(dim, target, region, numbers)
    assert shares[1] == pytest.approx(1, abs=0.02) and shares[2] == pytest.approx(0.4, abs=0.02)
    assert lesions.kept_of(list(shares.values())) == 1
    assert lesions.contrast(1 - target, target, region, numbers)[1] == pytest.approx(-1, abs=0.02)
    assert lesions.contrast(target, target, np.zeros_like(region), numbers) == {}


def test_others_are_the_subjects_left_out_by_name(real_data, tmp_path):
    """Real pairs: infants are trained on, 9 / 1 / 3, and no adult is among them."""
    study = Study(tmp_path, "small", "mri_pairs", str(real_data / "mri_t1_t2"), progress=False)
    data = build_data.open_data(config_of(study, "main"))
    people = [{data.source.records[i].patient for i in data.splits[s]} for s in ("train", "validation", "test")]
    assert [len(p) for p in people] == [9, 1, 3] and all(name.startswith("JLF") for p in people for name in p)
    row = verdicts.slice_counts(study, data)
    assert row.n == 13 and "13 subjects with 126 and 126 slices" in row.ours and row.verdict == "untestable"


@pytest.mark.parametrize("flag", ["dropout", "main"])
def test_only_the_published_generator_draws(flag, tmp_path):
    for name in SCALES:
        config = config_of(Study(tmp_path, name), "published" if flag == "dropout" else "main")
        assert bool(config.generator.get("dropout", 0.0)) == (flag == "dropout")
