"""The study of paper 003: its runs differ in what they say, its verdicts follow from figures, its page stands alone."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from experiments import claims as claim_rows
from experiments import common, super_resolution
from experiments.superres import (
    across,
    alone,
    curves,
    draws,
    mixing,
    runs,
    scores,
    speed,
    tables,
    targets,
)
from experiments.superres.runs import RUNS, SCALES, Study, config_of, heading, open_all
from medjax.build import config as configs
from medjax.build import evaluation as build_evaluation
from medjax.build import networks
from medjax.state import weights_of
from medjax.writers import read_metrics

IDS = [
    "above-bicubic", "plausibility", "adversarial-loss", "fid", "filtered-targets", "accuracy-curve", "generator-input",
    "settings", "artefacts", "extent", "objectives",
]  # fmt: skip
ON_IMAGES = ("above-bicubic", "plausibility", "adversarial-loss", "fid", "filtered-targets", "artefacts", "objectives")


@pytest.fixture(scope="module")
def study(tmp_path_factory, quick_compile):
    """A whole study at tiny, on phantoms alone."""
    workdir = tmp_path_factory.mktemp("study")
    assert super_resolution.main(["--scale=tiny", f"--workdir={workdir}", "--quiet"]) == 0
    return Study(workdir, "tiny", "phantoms", progress=False)


def test_every_claim_has_a_verdict_with_its_figures(study):
    rows = {row["id"]: row for row in json.loads((study.workdir / "claims.json").read_text())}
    assert list(rows) == IDS
    for row in rows.values():
        assert set(row) == {"id", "claim", "paper", "ours", "n", "verdict", "how"}
        assert row["verdict"] in claim_rows.VERDICTS and row["how"] and "nan" not in row["ours"]
    for name in ON_IMAGES:  # phantoms cannot test a claim on medical images
        assert rows[name]["verdict"] == "untestable" and "simulated" in rows[name]["how"]
    assert rows["accuracy-curve"]["verdict"] == rows["generator-input"]["verdict"] == "void"
    assert rows["settings"]["verdict"] == "untestable" and rows["extent"]["verdict"] == "fails"
    assert "a pixel varies by 0% of the range" in rows["generator-input"]["ours"], "no noise in the generator"


def test_report_stands_alone_and_says_what_it_is_of(study):
    page = (study.workdir / "report.html").read_text()
    assert "These are phantoms, not patients" in page and "falls short of" in page  # two steps teach nothing
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    words = re.sub(r"<[^>]+>|data:image[^\"]+", " ", page)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", words)
    for pairs in ("cxr_x4", "cxr_x2", "ct_x4", "mri_x4"):
        assert f"{heading(pairs)}: paired differences" in words and f"{heading(pairs)}: single images" in words
    for name in ("Another modality", "What is done to the target", "Which bicubic", "In real time", "One image without a set"):
        assert name in words
    assert page.count("data:image/png;base64,") >= 20 and words.count("no weights of inception_v3") == 1


def test_finished_stages_are_read_back(study, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("computed again")

    for module, name in (
        (build_evaluation, "load"),
        (targets, "measure"),
        (speed, "measure"),
        (alone, "measure"),
        (draws, "measure"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    opened = open_all(study)
    results = scores.gather(study, opened)
    mixing.measure(study, opened, results)
    assert results.rows_of("cxr_x4") == [*scores.CLASSICAL, "cxr", "cxr_gan", scores.MIXED]
    assert results.rows_of("ct_x4") == [*scores.CLASSICAL, "ct"] and results.gan("ct_x4") == ""
    for run in opened.runs:  # every run is scored on the same patients, none of whom it was trained on
        data = opened.of(run)
        trained = {data.source.records[i].patient for i in data.splits["train"]}
        assert not trained & set(results.evaluations[run][0].columns["patient"])
        assert results.evaluations[run][0].names == results.evaluations[results.first(RUNS[run].pairs)][0].names
    by_hand = results.evaluations["cxr"][0].scores["model"]["psnr"] - results.evaluations["cxr"][0].scores["bicubic"]["psnr"]
    assert results.versus("cxr_x4", "cxr", "bicubic", "psnr")["mean"] == pytest.approx(by_hand.mean())
    found = across.measure(study, opened, results)
    assert list(found) == ["cxr", "ct", "mri"] and found["ct"]["ct"]["psnr"]["n"] == 1
    own = results.versus("ct_x4", "ct", "bicubic", "psnr")["mean"]
    assert found["ct"]["ct"]["psnr"]["mean"] == pytest.approx(own)
    assert common.kept(study.workdir / "targets.json", forbidden)["placing"]["mri"]["8"]["n"] == study.scale.audited


def test_every_image_is_tabled_by_every_row(study):
    with open(study.workdir / "images.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["row"] for row in table if row["images"] == "cxr_x4"} == {*scores.CLASSICAL, "cxr", "cxr_gan", scores.MIXED}
    assert all(np.isfinite(float(row[m])) for row in table for m in scores.TABLED)
    summary = json.loads((study.folder("cxr") / "evaluation.json").read_text())
    mean = np.mean([float(r["psnr"]) for r in table if (r["images"], r["row"]) == ("cxr_x4", "bicubic")])
    assert mean == pytest.approx(summary["rows"]["bicubic"]["psnr"]["mean"], rel=1e-5)


def test_second_phase_begins_from_the_first_and_mixes_with_it(study):
    first, gan = (build_evaluation.load(study.folder(run), which="latest") for run in ("cxr", "cxr_gan"))
    assert configs.read(study.folder("cxr_gan")).init_from == str(study.folder("cxr"))
    between = mixing._between(study, "cxr_gan", 0.8)
    a, b, c = (np.asarray(weights_of(m.state)["generator"][0]["conv_first"]["kernel"]) for m in (first, gan, between))
    assert np.any(a != b)
    np.testing.assert_allclose(c, 0.2 * a + 0.8 * b, rtol=1e-5, atol=1e-7)


def test_curves_hold_each_metric_of_both_splits_once(study):
    rows = read_metrics(study.folder("cxr") / curves.FILE)
    assert [(row["step"], row["split"]) for row in rows] == [(1, "train"), (1, "validation"), (2, "train"), (2, "validation")]
    for row in rows:
        assert {*curves.SCORES, "fd/random_alexnet.relu3"} <= set(row) and all(np.isfinite(row[m]) for m in curves.SCORES)
    logged = [r for r in read_metrics(study.folder("cxr")) if r["split"] == "validation"]
    assert [row["step"] for row in logged] == [1, 2]


def test_a_step_done_again_replaces_its_rows(tmp_path, monkeypatch):
    curve = curves.Curve(None, None, tmp_path, count=1, steps=4)
    monkeypatch.setattr(curve, "_begin", lambda: None)
    monkeypatch.setattr(curve, "scores", lambda state, split: {"psnr": float(state)})
    for step, value in ((2, 20), (4, 40), (2, 21)):  # stopped after 4, which was not saved, and resumed before 2
        curve(step, value, {})
    rows = read_metrics(tmp_path / curves.FILE)
    assert [(r["step"], r["psnr"]) for r in rows] == [(2, 21.0)] * 2


def test_missing_data_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    args = ["--scale=small", f"--workdir={tmp_path / 'w'}", "--quiet"]
    assert super_resolution.main(args) == 1  # never phantoms unasked
    assert "--data_root=DIR, or MEDJAX_DATA" in capsys.readouterr().err
    assert super_resolution.main([*args, f"--data_root={tmp_path}"]) == 1
    told = capsys.readouterr().err
    assert "cxr_nih" in told and "absent" in told and told.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_images_stay_dealt_as_they_were_when_a_run_began(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "write_volumes", lambda study: None)  # X-rays alone
    study = Study(tmp_path, "tiny", "phantoms")
    dealt = open_all(study).data["cxr_x4"]
    names = {split: [dealt.source.names[i] for i in part] for split, part in dealt.splits.items()}
    names = {"train": names["test"] + names["validation"], "validation": names["train"][:3], "test": names["train"][3:]}
    study.folder("cxr").mkdir(parents=True)
    (study.folder("cxr") / "splits.json").write_text(json.dumps(names))
    again = open_all(study).data["cxr_x4"]
    assert {again.source.names[i] for i in again.splits["test"]} == set(names["test"])


def test_an_absent_modality_is_told_and_left_out(tmp_path, real_data):
    (tmp_path / "cxr_nih").symlink_to(real_data / "cxr_nih")
    opened = open_all(Study(tmp_path / "w", "small", root=str(tmp_path)))
    assert set(opened.absent) == {"ct", "mri"} and opened.runs == ("cxr", "cxr_gan", "cxr_x2", "light")
    assert "absent" in tables.absent(opened)[0] and "No CT slices" in tables.absent(opened)[0]
    sizes = {name: len(part) for name, part in opened.data["cxr_x4"].splits.items()}
    assert sizes == {"train": 192, "validation": 24, "test": 24}


def test_real_ct_and_mr_are_dealt_by_patient(tmp_path, real_data):
    opened = open_all(Study(tmp_path, "small", root=str(real_data)))
    assert not opened.absent and opened.runs == tuple(RUNS)
    people = {
        pairs: [len({data.source.records[i].patient for i in data.splits[s]}) for s in ("train", "validation", "test")]
        for pairs, data in opened.data.items()
    }
    assert people["ct_x4"] == [3, 1, 3] and people["mri_x4"] == [9, 2, 4]
    assert opened.data["ct_x4"].source.load(0)["target"].min() == 0, "what lies below the window is its lower end"


def test_runs_differ_in_what_they_say(tmp_path):
    for name, scale in SCALES.items():
        study = Study(tmp_path, name, "phantoms")
        flat = {run: dict(configs.flatten(config_of(study, run))) for run in scale.steps}
        for run in scale.steps:
            config = config_of(study, run)
            if "perceptual" in config.method:
                config.method.perceptual.weight = 0.0  # no published weights here
            networks.objective(config, 10)  # every combination can be built
            assert config.data.scale == RUNS[run].factor and config.data.crop_size % config.data.scale == 0
            assert config.train.best == "step:max" and (not scale.steps[run] or scale.steps[run] % config.train.eval_every == 0)
            first = flat[next(r for r in scale.steps if RUNS[r].pairs == RUNS[run].pairs)]
            same = [k for k in first if re.match(r"data\.(source|root|image_size|split|degradation|volumes)", k)]
            assert {k: flat[run][k] for k in same} == {k: first[k] for k in same}, "all runs of a set see the same images"
    light, full = (configs.get(name, list(overrides)) for name, overrides in (SCALES["small"].light, SCALES["small"].full))
    assert light.generator.direct and light.data.scale == full.data.scale == 2 and full.generator.blocks == 23
    assert "vgg19" in config_of(Study(tmp_path, "paper", "phantoms"), "cxr_gan").method.perceptual.network
