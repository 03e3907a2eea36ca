"""The study of paper 004: one split for all its stages, rows of the same images, findings kept, a page that stands alone."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from experiments import claims as claim_rows
from experiments import led
from experiments.common import complete
from experiments.unpaired import ablation, enhanced, judged, page, physical, restored, stages
from experiments.unpaired.runs import ON_PAIRS, PHYSICAL, SCALES, Study, check_judged, config_of, make_pairs, open_all
from experiments.unpaired.scales import CONDITION, FRESH, PHANTOM, REAL
from medjax.build import config as configs
from medjax.build import judgement, pairs, training
from medjax.data import led_pairs
from medjax.data.degrade import low_dose
from medjax.data.records import Record
from medjax.data.sources import phantom_cxr
from medjax.metrics import PSNR_CAP
from medjax.types import CheckpointError, ConfigError, DataError

IDS = [
    "gap", "improves", "four-sets", "significant", "leak", "preserved", "exposure", "settings", "undertrained", "condition",
    "start", "formulas", "resampling", "data-sets", "hallucination",
]  # fmt: skip
ROWS = {"low", "led", "led_mean", "cyclegan", "regression", "physical", "physical_led", "clahe", "equalise", "gamma"}
HIGH = {"high", "high_led"}  # of other patients, beside which nothing is paired
ARGS = ["--scale=tiny", "--quiet"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, quick_compile):
    """A whole study at tiny, on phantoms alone."""
    workdir = tmp_path_factory.mktemp("study")
    assert led.main([*ARGS, f"--workdir={workdir}"]) == 0
    return Study(workdir, "tiny", "phantoms", progress=False)


def found_of(study, name):
    return json.loads((study.place / f"{name}.json").read_text())


# ------------------------------------------------------------------------------------------------ the whole study


def test_every_claim_has_a_verdict_with_its_figures(study):
    rows = {row["id"]: row for row in found_of(study, "claims")}
    assert list(rows) == IDS
    for row in rows.values():
        assert set(row) == {"id", "claim", "paper", "ours", "n", "verdict", "how"}
        assert row["verdict"] in claim_rows.VERDICTS and row["how"] and not re.search(r"\bnan\b|None", row["ours"])
    assert rows["improves"]["verdict"] == "untestable" and "Phantoms alone" in rows["improves"]["how"]
    assert rows["hallucination"]["verdict"] == "untestable" and "Phantoms alone" in rows["hallucination"]["how"]
    assert rows["gap"]["verdict"] == "holds" and rows["four-sets"]["verdict"] == "fails"
    assert rows["preserved"]["verdict"] == "void" and rows["condition"]["n"] == study.scale.ablated
    assert "t = 16" in rows["start"]["ours"] and "beside a fresh start" in rows["start"]["ours"]


def test_report_stands_alone_and_says_what_it_is_of(study):
    text = (study.place / "report.html").read_text()
    assert "These are phantoms, not patients" in text and not re.findall(r'(?:src|href)="(?!data:)', text)
    words = re.sub(r"<[^>]+>|data:image[^\"]+", " ", text)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", words)
    for name in ("The paper's Table 1", "Against the truth, phantoms", "LED, mean of samples", "LED with pairs by physics",
                 "high quality, put through LED", "output minus input", "lowest anatomy score", "first two principal components",
                 "Balance of the pools",
                 "Findings kept, lost and invented", "y0 = f(x) by g_ab, 16 of 20 noising steps", "photons"):  # fmt: skip
        assert name in words
    assert text.count("data:image/png;base64,") >= 6


def test_finished_stages_are_read_back(study, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("computed again")

    before = found_of(study, "claims")
    for module, name in ((training, "train"), (pairs, "write_pairs"), (physical, "write_pairs"), (enhanced, "applied"),
                         (judgement, "judge"), (restored, "measure"), (ablation, "measure")):  # fmt: skip
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(page, "build", lambda study, *_: study.place / "report.html")
    assert led.main([*ARGS, f"--workdir={study.workdir}"]) == 0
    assert found_of(study, "claims") == before


def test_one_split_for_all_stages(study):
    patients = json.loads(study.split_file(PHANTOM).read_text())["patients"]
    side = {patient: split for split, own in patients.items() for patient in own}
    assert len(side) == sum(map(len, patients.values()))
    for name in study.runs(PHANTOM):
        dealt = json.loads((study.folder(PHANTOM, name) / "splits.json").read_text())
        assert all(side[image] == split for split, own in dealt.items() for image in own)  # a phantom has one image
    first, judge = (config_of(study, PHANTOM, name).data for name in ("cyclegan", "classifier"))
    assert first.split_seed != judge.split_seed and first.phantom_pools.findings == judge.phantom_cxr.findings


def test_both_roads_have_the_same_images(study):
    learnt, other = (led_pairs.read_manifest(study.pairs(PHANTOM, kind)) for kind in ("learnt", PHYSICAL))
    for one, two in zip(learnt["pairs"], other["pairs"], strict=True):
        assert (one["name"], one["patient"], one["split"]) == (two["name"], two["patient"], two["split"])
        assert one["target"]["sha256"] == two["target"]["sha256"] and one["source"]["sha256"] != two["source"]["sha256"]
    assert other["made_by"]["photons"] in physical.PHOTONS and other["made_by"]["steps"][0] == "low_dose"


def test_rows_are_of_the_same_patients(study):
    found = found_of(study, "judgement")
    assert set(found["rows"]) == ROWS | HIGH and set(found["gap"]) == ROWS - {"low"}
    assert found["positive"] == "Mass" and {row for row, test in found["tests"].items() if "mcnemar" in test} == ROWS - {"low"}
    assert "nothing is paired" in found["tests"]["high_led"]["why"]
    data = open_all(study)[PHANTOM]
    test = enhanced.tested(study, PHANTOM, data)
    n = len(test.low)
    assert {found["rows"][row]["n"] for row in ROWS} == {n} and test.truth.shape == test.low.shape
    assert {record.extra["pool"] for record in test.records} == {"low"} and {r.labels for r in test.high_records} <= {
        ("Mass",), ("No Finding",)
    }  # fmt: skip
    rows, twins, beside = enhanced.rows(study, PHANTOM, test, data)
    assert (rows["physical"] != rows["physical_led"]).mean() > 0.5 and beside["high_led"].shape == test.high.shape
    assert set(rows) == ROWS == set(twins) and beside["degraded"].shape == test.high.shape
    assert [test.records[i].labels for i in test.places] == [("Mass",)] * len(test.twins)
    np.testing.assert_array_equal(twins["low"], test.twins)
    for place, twin in zip(test.places, test.twins, strict=True):  # the same patient and noise but for the finding
        assert 0 < np.abs(twin - test.low[place]).mean() < np.abs(twin - test.low[place - 1]).mean()
    assert set(found_of(study, "anatomy_phantom")["rows"]) == ROWS - {"low"} | {"degraded", "truth"}
    assert found_of(study, "restored_phantom")["rows"]["led"]["psnr"]["n"] == n
    assert stages.Seen(test, rows, twins, beside).rows["led"].dtype == np.float32


def test_a_finished_run_is_taken_as_it_is(study, tmp_path):
    folder, config = study.folder(PHANTOM, "regression"), config_of(study, PHANTOM, "regression")
    assert complete(config, folder) and not complete(config, tmp_path)
    config.train.steps = 99
    assert complete(config, folder)
    config.generator.features = (4, 4)
    with pytest.raises(ConfigError, match="generator.features"):
        complete(config, folder)


# ------------------------------------------------------------------------------------------------ what ends a study early


def test_missing_data_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    args = ["--scale=tiny", "--data_source=files", f"--workdir={tmp_path / 'w'}", "--quiet"]
    assert led.main(args) == 1
    assert "--data_root=DIR, or MEDJAX_DATA" in capsys.readouterr().err
    assert led.main([*args, f"--data_root={tmp_path}"]) == 1
    told = capsys.readouterr().err
    assert "cxr_nih" in told and "absent" in told and told.count("\n") == 1 and not (tmp_path / "w").exists()


def test_a_stage_without_its_predecessor_names_the_command(tmp_path):
    with pytest.raises(CheckpointError, match="medjax train --config=led_cyclegan"):
        make_pairs(Study(tmp_path, "tiny", "phantoms"), PHANTOM, "learnt")


def test_test_images_of_one_class_end_it_before_anything_is_trained(study):
    data = open_all(study)[PHANTOM]
    with pytest.raises(DataError, match=r"of the \d+ test images of the pool low those of one class alone are of Mass; "):
        check_judged(data, ("Mass", "COPD"), most=study.scale.test)


# ------------------------------------------------------------------------------------------------ what is run and counted


def test_runs_fit_each_other(tmp_path):
    for name in SCALES:
        study = Study(tmp_path, name, "files", str(tmp_path))
        assert study.arms == (PHANTOM, REAL) and study.main == (REAL if name == "paper" else PHANTOM)
        for arm in study.arms:
            first = config_of(study, arm, "cyclegan").data
            for run in study.runs(arm):
                config = config_of(study, arm, run)
                assert config.data.split_file == str(study.split_file(arm))
                if run in ON_PAIRS:
                    assert config.data.source == "led_pairs" and config.data.image_size == first.image_size
            refined, alone = config_of(study, arm, "diffusion"), study.scale.arms[arm].get("physical")
            assert refined.method.enhancer == str(study.folder(arm, "cyclegan")) and refined.method.condition == "source"
            assert 0 < refined.method.start <= refined.method.num_times
            if alone:
                assert not config_of(study, arm, "physical").method.enhancer
        assert {CONDITION, FRESH} <= set(study.scale.settings)
    first = config_of(Study(tmp_path, "paper", "files", str(tmp_path)), REAL, "cyclegan").data
    assert [round(first.padchest.low_limit * share) for share in first.split] == [1000, 200, 1000], "as published"
    other = config_of(Study(tmp_path, "small", "files", str(tmp_path), low="actualmed"), REAL, "cyclegan").data
    assert (other.unpaired.low, other.unpaired.high, other.root) == ("actualmed", "nih_cxr14", str(tmp_path))
    assert not other.degradation.steps


def test_photons_are_found_again():
    images = [phantom_cxr(4, size=64, seed=5).load(i)["target"] for i in range(4)]
    config = configs.get("led_cyclegan:tiny")
    for photons in (physical.PHOTONS[5], physical.PHOTONS[9]):
        low = [low_dose(image, np.random.default_rng(i), photons=photons).clip(0, 1) for i, image in enumerate(images)]
        degradation, told = physical.fitted(config, images, low)
        assert told["photons"] == photons and degradation.steps == ("low_dose",)


def test_rows_against_the_truth():
    truth = np.full((3, 32, 32, 1), 0.5, np.float32)
    found = restored.measure({"low": truth + 0.1, "led": truth, "led_mean": truth + 0.01}, truth)
    assert found["rows"]["low"]["psnr"]["mean"] == pytest.approx(20, abs=1e-3) and found["n"] == 3
    assert found["rows"]["led"]["psnr"]["mean"] == pytest.approx(PSNR_CAP)
    assert found["differences"]["led_mean"]["low"]["psnr"]["mean"] == pytest.approx(20, abs=1e-2)
    assert set(found["differences"]["led"]) == {"low", "led_mean"}


def test_settings_become_fields():
    method = configs.get("led_diffusion:small").method
    assert ablation.fields_of({"start": 0.2}, method) == {"start": 200}
    assert ablation.fields_of({"steps": 0, "sampler": "ddpm"}, method) == {"steps": 1000, "sampler": "ddpm"}
    method.start = 800
    assert ablation.fields_of({"steps": 0}, method) == {"steps": 800}


def test_images_of_one_class_are_judged():
    labels = [("Mass",), ("Mass", "No Finding"), ("COPD",), ("No Finding", "COPD")]
    records = [Record(f"{i}.png", f"p{i}", labels=each) for i, each in enumerate(labels)]
    found = judged.image_set(np.zeros((4, 8, 8, 1)), records, ("No Finding", "Mass"))
    assert (found.names, found.labels, found.patients) == (["0.png", "3.png"], ["Mass", "No Finding"], ["p0", "p3"])
