"""The study of paper 001: its counts, what its runs share, verdicts that follow from figures, a page that stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from experiments import cgan_srgan
from experiments import claims as claim_rows
from experiments.benchmarks import memory as benchmark
from experiments.common import complete
from experiments.labelled import counts, domain, judged, memory, page, threshold, verdicts_images, verdicts_paper
from experiments.labelled.runs import RUNS, SCALES, Study, config_of, open_all
from experiments.superres.targets import PLAIN
from medjax import formats, synthetic
from medjax.build import config as configs
from medjax.build import evaluation, networks, synthesis, training, utility
from medjax.data.records import Record
from medjax.data.tables import read_table
from medjax.types import ConfigError

IDS = [
    "pneumonia-images", "mass-images", "no-finding-images", "data-set", "threshold", "speed", "training-time", "memory",
    "srgan-on-cgan", "mode-collapse", "figure-3", "realistic", "useful", "privacy", "citations", "clahe",
]  # fmt: skip
ON_IMAGES = ("threshold", "srgan-on-cgan", "mode-collapse", "realistic", "useful", "privacy", "clahe")
ARGS = ["--scale=tiny", "--quiet"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, gan_run, quick_compile):
    """A whole study at tiny, on phantoms alone, its generator trained before by `medjax train`."""
    workdir = tmp_path_factory.mktemp("study")
    shutil.copytree(gan_run, workdir / "runs" / "cgan_phantom" / "seed_0")
    assert cgan_srgan.main([*ARGS, f"--workdir={workdir}"]) == 0
    return Study(workdir, "tiny", "phantoms", progress=False)


def claims_of(study):
    return {row["id"]: row for row in json.loads((study.place / "claims.json").read_text())}


# ------------------------------------------------------------------------------------------------ the whole study


def test_every_claim_has_a_verdict_with_its_figures(study):
    rows = claims_of(study)
    assert list(rows) == IDS
    for row in rows.values():
        assert set(row) == {"id", "claim", "paper", "ours", "n", "verdict", "how"}
        assert row["verdict"] in claim_rows.VERDICTS and row["how"] and not re.search(r"\bnan\b|None", row["ours"])
    for name in ON_IMAGES:  # phantoms cannot test a claim on medical images
        assert rows[name]["verdict"] == "untestable" and "simulated" in rows[name]["how"]
    for name in ("pneumonia-images", "data-set", "figure-3", "citations"):
        assert rows[name]["verdict"] == "fails"
    assert rows["mass-images"]["verdict"] == rows["no-finding-images"]["verdict"] == "holds"
    counted = rows["pneumonia-images"]["ours"]
    assert "3.49 or 15.5 times" in counted and "phantom_cxr, 48 images" in counted
    for name in ("speed", "training-time", "memory"):  # of networks of another size
        assert rows[name]["verdict"] == "untestable"
    assert "11.1%" in rows["threshold"]["ours"] and "of 48" in rows["threshold"]["ours"]


def test_report_stands_alone_and_says_what_it_is_of(study):
    text = (study.place / "report.html").read_text()
    assert "These are phantoms, not patients" in text and not re.findall(r'(?:src|href)="(?!data:)', text)
    words = re.sub(r"<[^>]+>|data:image[^\"]+", " ", text)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", words)
    for name in ("Figure 1 of the paper, redone", "Figure 3 of the paper, redone", "Copies of training images", "Twelve hours",
                 "class by class", "mean grey level", "micro-batches of 1", "Generated images show no patient"):  # fmt: skip
        assert name in words
    assert text.count("data:image/png;base64,") >= 10


def test_finished_stages_are_read_back(study, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("computed again")

    before = claims_of(study)
    for module, name in ((evaluation, "score_run"), (evaluation, "load"), (utility, "utility"), (synthesis, "run"),
                         (training, "train"), (memory, "measure"), (threshold, "measure"), (domain, "measure")):  # fmt: skip
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(page, "build", lambda study, *_: study.place / "report.html")
    assert cgan_srgan.main([*ARGS, f"--workdir={study.workdir}"]) == 0
    assert claims_of(study) == before


def test_labelled_images_are_a_data_set_at_the_large_size(study):
    folder = threshold.folder(study, "phantom", threshold.ENLARGED)
    table = read_table(folder / synthetic.TABLE, synthetic.COLUMNS)
    classes = config_of(study, "cgan_phantom").data.classes
    found = [row["Finding Labels"] for row in table]
    assert {name: found.count(name) for name in classes} == dict.fromkeys(classes, study.scale.synthetic["phantom"])
    assert formats.image_size(folder / table[0]["Image Index"]) == (64, 64)
    plain = threshold.folder(study, "phantom", threshold.PLAIN)
    assert formats.image_size(plain / table[0]["Image Index"]) == (32, 32)
    assert threshold.synthetic_of(folder)["upscale"]["scale"] == 2


def test_gap_is_between_patients_apart(study):
    found = json.loads((study.place / "gap.json").read_text())
    data = open_all(study)["large"]
    assert found["n"] == min(study.scale.gap, len(data.splits["test"]) + len(data.splits["validation"]))
    assert set(found["features"]) == set(domain.ROWS) and found["sizes"] == [32, 64]
    networks_seen = {key.partition("/")[2] for key in found["features"]["real_sr"]}
    assert "classifier_cxr.classifier_phantom.pool" in networks_seen and "random_alexnet.relu3" in networks_seen
    for key, entry in found["differences"].items():
        far, near = (found["features"][row][key]["value"] for row in ("generated_sr", "real_sr"))
        assert entry["value"] == pytest.approx(far - near)


def test_a_finished_run_is_taken_as_long_as_its_own_config_says(study, tmp_path):
    folder, config = study.gan("phantom"), config_of(study, "cgan_phantom")
    assert configs.resolved(folder)["steps"] == 6 and config.train.steps == 2
    assert complete(config, folder) and not complete(config, tmp_path)
    config.train.steps = 99
    config.train.tensorboard = True
    assert complete(config, folder)
    config.generator.features = 5
    with pytest.raises(ConfigError, match="generator.features"):
        complete(config, folder)


def test_missing_data_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    args = ["--scale=small", f"--workdir={tmp_path / 'w'}", "--quiet"]
    assert cgan_srgan.main(args) == 1  # never phantoms unasked
    assert "--data_root=DIR, or MEDJAX_DATA" in capsys.readouterr().err
    assert cgan_srgan.main([*args, f"--data_root={tmp_path}"]) == 1
    told = capsys.readouterr().err
    assert "cxr_nih" in told and "absent" in told and told.count("\n") == 1 and not (tmp_path / "w").exists()


# ------------------------------------------------------------------------------------------------ what is run


def test_runs_fit_each_other(tmp_path):
    for name, scale in SCALES.items():
        for source in ("phantoms", "files"):
            study = Study(tmp_path, name, source, str(tmp_path))
            for run in study.runs:
                config = config_of(study, run)
                if "perceptual" in config.method:
                    config.method.perceptual.weight = 0.0  # no published weights here
                if "guide" in config.method:
                    config.method.guide.weight = 0.0  # nor a trained classifier
                networks.objective(config, 10)
            small, large = config_of(study, f"cgan_{study.main}").data, config_of(study, "srgan").data
            assert small.crop_size * large.scale == large.image_size and large.crop_size % large.scale == 0
            assert (large.source, large.classes, large.split) == (small.source, small.classes, small.split)
        assert set(scale.synthetic) == set(scale.utility) == set(scale.gans) - {"guided"} == {"phantom", "nih"}
    small = Study(tmp_path, "small", "files", str(tmp_path))
    assert {k: v for k, v in configs.flatten(config_of(small, "cgan_phantom")) if not k.startswith("train.")} == {
        k: v for k, v in configs.flatten(configs.get("cgan_cxr:small")) if not k.startswith("train.")
    }
    guide, judge, guided = (config_of(small, name) for name in ("guide_phantom", "classifier_phantom", "cgan_guided"))
    assert guide.seed != judge.seed and guided.method.guide.classifier == str(small.folder("guide_phantom"))
    assert guided.init_from == str(small.gan("phantom")) and small.classifier("guided") == small.classifier("phantom")
    assert config_of(small, "cgan_phantom").train.steps == configs.get("cgan_cxr:small").train.steps


def test_no_judge_saw_what_is_judged(tmp_path, real_data):
    study = Study(tmp_path, "small", "files", str(real_data))
    data = open_all(study)
    assert counts.measure(study)["classes"]["Pneumonia"] == {
        "any": 120, "single": 25, "pa": counts.measure(study)["classes"]["Pneumonia"]["pa"], "patients": 120,
        "repeat_any": pytest.approx(41.67, abs=0.01), "repeat_single": 200.0,
    }  # fmt: skip
    held = {data["nih"].source.records[i].name for i in data["nih"].splits["test"]}
    from medjax.build import data as build_data

    judge = build_data.open_data(config_of(study, "classifier_nih"))
    for other in (judge, data["large"]):
        assert held <= {other.source.records[i].name for i in other.splits["test"]} and len(held) == 24


# ------------------------------------------------------------------------------------------------ counts and verdicts


def records_of(*labels):
    return [Record(f"{i}.png", f"p{i // 2}", (), tuple(each), "PA" if i % 2 else "AP") for i, each in enumerate(labels)]


def test_labels_are_counted():
    found = counts.of_records(records_of(["Mass"], ["Mass", "Pneumonia"], ["No Finding"], ["Pneumonia"], ["Edema", "Pneumonia"]))
    assert (found["images"], found["several"], found["labels"]) == (5, 2, 3)
    assert found["overlap"] == {"No Finding + Mass": 0, "No Finding + Pneumonia": 0, "Mass + Pneumonia": 1}
    mine = found["classes"]["Pneumonia"]
    assert (mine["any"], mine["single"], mine["pa"], mine["patients"], mine["repeat_single"]) == (3, 1, 2, 3, 5000.0)
    assert counts.of_records(records_of(["Edema"]))["classes"]["Mass"]["repeat_any"] is None
    whole = {**found, "source": "x", "whole": True}
    assert counts.known(whole, "Pneumonia") == mine and counts.overlap(whole) == 1
    assert counts.known({**whole, "whole": False}, "Mass")["any"] == 5782
    enough = {**whole, "classes": {name: {**mine, "any": 5000} for name in counts.CLASSES}}
    for judge in (verdicts_paper.pneumonia, verdicts_paper.mass, verdicts_paper.no_finding):
        assert judge(whole).verdict == "fails" and judge(enough).verdict == "holds"


def share(count, n):
    return threshold._share(np.arange(n) < count)


def test_threshold_needs_few_and_better_images(tmp_path):
    real, simulated = Study(tmp_path, "small"), Study(tmp_path, "small", "phantoms")
    right, passes = np.array([True] * 45 + [False] * 155), np.array([True] * 40 + [False] * 160)
    good = threshold.agreement(right, passes)
    by_hand = 1.0 - 5 / 160
    assert good["difference"]["mean"] == pytest.approx(by_hand) and good["difference"]["ci95"][0] > 0.8
    none = threshold.agreement(right, np.zeros(200, bool))
    assert none["passed"] is None and none["difference"] is None and none["failed"]["count"] == 45

    def found(count, agreed):
        given = {"passed": {"all": share(count, 500)}, "held_out": share(3, 10), "calibration": {"brier": 0.2}}
        return {**given, "agreement": agreed}

    judge = verdicts_images.threshold
    assert judge(real, found(40, good)).verdict == "holds"
    assert judge(real, found(200, good)).verdict == "fails" and "too many" in judge(real, found(200, good)).ours
    assert judge(real, found(40, threshold.agreement(right[::-1], passes))).verdict == "fails"
    assert judge(real, found(0, none)).verdict == "void" and judge(simulated, found(40, good)).verdict == "untestable"


def test_gap_is_judged_by_its_interval(tmp_path):
    real = Study(tmp_path, "small")

    def found(far):
        record = lambda value: {"kid/x.pool": {"value": value, "ci95": [value - 0.1, value + 0.1]}}  # noqa: E731
        features = {"real": record(0.0), "real_sr": record(0.1), "generated_sr": record(far)}
        return {"features": features, "differences": domain.differences(features), "n": 8, "reference": 9, "sizes": [64, 512]}

    assert found(0.5)["differences"]["kid/x.pool"]["ci95"] == pytest.approx([0.4 - np.hypot(0.1, 0.1), 0.4 + np.hypot(0.1, 0.1)])
    assert [verdicts_images.gap(real, found(far)).verdict for far in (0.5, 0.2, 0.05)] == ["fails", "untestable", "holds"]
    assert verdicts_images.gap(real, {**found(0.5), "differences": {}}).verdict == "untestable"


def summary_of(*, kid=0.0, seen=0.9, alike=1.0, ratio=1.0, closer=0.0):
    interval = lambda v, e=0.05: {"value": v, "mean": v, "ci95": [v - e, v + e], "n": 50}  # noqa: E731
    return {
        "n": 50,
        "features": {"model": {"kid/x.pool": interval(kid)}, "real": {"kid/x.pool": interval(0.0)}},
        "diversity": {"all": {"model": interval(0.3), "real": interval(0.3), "ratio": interval(alike)}},
        "memorisation": {"grey": {"ratio": ratio, "closer": closer, "generated": {"n": 50}}},
        "classifier": {"classes": ["a", "b"], **{row: {"balanced_accuracy": interval(seen)} for row in ("model", "real")}},
    }


def test_verdicts_on_generated_images_follow_from_the_scores(tmp_path):
    real, simulated = Study(tmp_path, "small"), Study(tmp_path, "small", "phantoms")
    for judge, good, bad in (
        (verdicts_images.realistic, {}, {"kid": 0.5}),
        (verdicts_images.realistic, {"seen": 0.6}, {"seen": 0.52}),
        (verdicts_images.privacy, {"ratio": 1.1, "closer": 0.4}, {"ratio": 0.8, "closer": 0.4}),
    ):
        assert judge(real, summary_of(**good)).verdict == "holds" and judge(real, summary_of(**bad)).verdict == "fails"
        assert judge(simulated, summary_of(**good)).verdict == "untestable"
    assert verdicts_images.privacy(real, summary_of(ratio=0.8, closer=0.1)).verdict == "untestable"  # 5 of 50 may be chance
    assert verdicts_images.collapse(real, summary_of(), 0.0).verdict == "fails"
    assert verdicts_images.collapse(real, summary_of(), 0.3).verdict == "untestable"
    assert verdicts_images.collapse(real, summary_of(alike=1.5), 0.0).verdict == "untestable"
    random = {"kid/random_alexnet.relu3": {"value": 9.0}, "kid/x.pool": {"value": 1.0}}
    assert judged.distance({"features": {"model": random}})[0] == "kid/x.pool"
    assert judged.distance({"features": {"model": {"kid/x.pool": {"value": None}}}}) == ("", None)


def test_use_speed_and_clahe_are_judged(tmp_path):
    real = Study(tmp_path, "small")

    def used(low):
        rows = {row: {"auc": {"mean": 0.7, "ci95": [0.6, 0.8], "n": 24}} for row in ("real", "synthetic", "both", "grey")}
        test = {"difference": low + 0.05, "ci95": [low, low + 0.1], "p_value": 0.04}
        return {"rows": rows, "classes": ["No Finding", "Pneumonia"], "tests": {"both": {"delong": {"Pneumonia": test}}}, "n": 24}

    assert verdicts_images.useful(real, used(0.01)).verdict == "holds"
    assert verdicts_images.useful(real, used(-0.05)).verdict == "fails"
    for kept, told in ((100.0, "holds"), (400.0, "fails")):
        written = {"ms_per_image": {"kept": kept, "generator": 1.0, "batch_size": 16}, "run": {"size": [64, 64]},
                   "upscale": {"size": [512, 512]}, "images": 9}  # fmt: skip
        cut = {"filter": {"ms": None, "told": "out of reach"}}
        assert verdicts_images.speed(real, cut, written).verdict == told
    row = lambda psnr: {"psnr": psnr, "n": 4}  # noqa: E731
    for psnr, told in ((27.5, "void"), (33.5, "fails"), (34.0, "holds")):
        claim = verdicts_images.equalisation(real, {"size": 256, "rows": {PLAIN: row(33.9), "CLAHE, clip 0.02": row(psnr)}})
        assert claim.verdict == told


def test_arithmetic_on_the_training_time():
    row = lambda share: {"gflop": 1.0, "tflops": 1.0, "share": share}  # noqa: E731
    for shares, told in (((0.2, 0.4), "holds"), ((0.2, 0.9), "untestable"), ((1.2, 0.9), "fails")):
        widths = dict(zip(("32", "64"), map(row, shares), strict=True))
        found = {"rate": 174.0, "pixels": 128, "peak": 2e12, "widths": widths}
        assert verdicts_paper.training_time(found).verdict == told
        assert verdicts_paper.training_time({**found, "pixels": 32}).verdict == "untestable"


def test_memory_is_measured_in_order_until_time_is_up(tmp_path, monkeypatch):
    study = Study(tmp_path, "small", "phantoms")
    order = list(memory.order(study))
    assert len(order) == len(set(order)) == 40 and {form for _, _, form in order[:12]} == {"plain"}
    assert not any(batch == 1 and "micro" in form for _, batch, form in order)
    size = lambda system: {"bytes": {"total": benchmark.LIMIT // 2}}  # noqa: E731
    monkeypatch.setattr(benchmark, "measure", lambda scale, s, b, f, **_: {"system": s, "batch": b, "form": f, **size(s)})
    found = memory.measure(study)
    assert found["verdict"] == "holds" and verdicts_paper.memory(found).verdict == "holds"
    rushed = {**SCALES, "small": SCALES["small"]._replace(memory_seconds=0.0)}
    monkeypatch.setattr("experiments.labelled.runs.SCALES", rushed)
    found = memory.measure(dataclasses.replace(study))
    assert found["verdict"] == "untestable" and "40 of 40" in verdicts_paper.memory(found).how


def test_every_run_is_named_by_what_it_is():
    assert {run.kind for run in RUNS.values()} == {"generator", "classifier", "enlarger"}
    assert [name for name, run in RUNS.items() if run.kind == "generator"] == ["cgan_phantom", "cgan_guided", "cgan_nih"]
