"""The command line: every bad input is one sentence, and the road from training to enhanced files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medjax.cli import main

pytestmark = pytest.mark.usefixtures("quick_compile")

TINY = "--config=pix2pix_cxr:tiny"


@pytest.fixture
def fails(capsys):
    """`fails(status, told, *argv)`: one sentence on stderr holding every string of `told`, and no traceback."""

    def check(status, told, *argv):
        assert main(list(map(str, argv))) == status
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("medjax: warning")]
        assert len(lines) == 1 and lines[0].startswith("medjax: "), err
        assert "Traceback" not in out + err
        for text in told:
            assert text in lines[0], lines[0]

    return check


def contents(folder):
    return {p.relative_to(folder): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "status, told, words",
    [
        (2, ["no config 'pix2pix'", "did you mean pix2pix_mri or pix2pix_cxr?"], ["--config=pix2pix"]),
        (2, ["variant 'huge' is none of paper"], ["--config=pix2pix_cxr:huge"]),
        (2, ["'train.step'", "did you mean train.steps"], [TINY, "--config.train.step=3"]),
        (2, ["cannot set", "train.steps=few"], [TINY, "--config.train.steps=few"]),
        (2, ["unknown argument '--stpes=3'"], [TINY, "--stpes=3"]),
        (2, ["no config 'common'"], ["--config=common"]),
        (2, ["train.best", "pnsr", "psnr"], [TINY, "--config.train.best=pnsr:max"]),
        (2, ["image_size is 16"], [TINY, "--config.data.image_size=16"]),
        (2, ["crop_size must be at least 1"], [TINY, "--config.data.crop_size=0"]),
        (2, ["threads must be at least 0"], [TINY, "--config.data.threads=-1"]),
        (2, ["train.ema", "not 1.5"], [TINY, "--config.train.ema=1.5"]),
        (2, ["2 levels of features", "not 1"], ["--config=restorer_cxr:tiny", "--config.generator.blocks=(1,)"]),
        (2, ["PatchGAN of 7 layers"], [TINY, "--config.discriminator.layers=7"]),
        (2, ["steps or config.train.epochs above 0"], [TINY, "--config.train.steps=-1"]),
        (2, ["--seeds must be at least 1"], [TINY, "--seeds=0"]),
        (2, ["attends to nothing"], [TINY, "--config.generator.attention_at=('bottleneck',)"]),
        (1, ["/nowhere/images", "absent"], [TINY, "--config.data.source=folder", "--config.data.root=/nowhere/images"]),
        (1, ["nih_cxr14 needs a folder", "MEDJAX_DATA"], ["--config=pix2pix_cxr:paper"]),
    ],
)  # fmt: skip
def test_train_says_what_is_wrong_before_it_writes(fails, flags, tmp_path, monkeypatch, status, told, words):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    fails(status, told, "train", f"--workdir={tmp_path / 'run'}", *flags, *words)
    assert not (tmp_path / "run").exists()


def test_bad_data_ends_training_before_it_starts(fails, flags, tmp_path):
    """An empty folder, a folder of one truncated image among good ones, an image smaller than the crop."""
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    words = [
        "train",
        f"--workdir={run}",
        *flags,
        "--config=restorer_cxr:tiny",
        "--config.data.source=folder",
        f"--config.data.root={data}",
    ]
    fails(1, [str(data), "no image"], *words)
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(data / f"{i}.png")
    fails(2, ["crop_size 64", "larger"], *words, "--config.data.crop_size=64", "--config.data.image_size=64")
    fails(1, ["40", "48"], *words, "--config.data.load_size=0", "--config.data.crop_size=48")
    (data / "7.png").write_bytes((data / "7.png").read_bytes()[:200])  # whichever split it is in
    fails(1, ["7.png"], *words)
    assert not run.exists()
    for i in range(12):
        path = data / f"{i}.png"
        path.write_bytes(path.read_bytes()[:200])
    fails(1, [".png"], *words)
    assert not run.exists()


def test_a_workdir_of_another_config_names_the_fields(fails, flags, trained):
    before = contents(trained)
    fails(
        2,
        ["another config", "seed: 0 there, 1 now"],
        "train",
        "--config=pix2pix_cxr:tiny",
        f"--workdir={trained}",
        *flags,
        "--config.seed=1",
    )
    fails(2, ["another config"], "train", "--config=restorer_cxr:tiny", f"--workdir={trained}", *flags)
    assert contents(trained) == before


def test_workdirs_that_cannot_be_used(fails, flags, trained, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(image)
    empty, bare, out = tmp_path / "empty", tmp_path / "bare", f"--output={tmp_path / 'out'}"
    empty.mkdir()
    bare.mkdir()
    shutil.copy(trained / "config.json", bare)
    for command in (["enhance", image, out], ["evaluate"]):
        fails(1, ["/nowhere is absent"], *command, "--workdir=/nowhere")
        fails(1, [str(empty), "no config.json"], *command, f"--workdir={empty}")
        fails(1, [str(bare), "has no checkpoint: train it first"], *command, f"--workdir={bare}")
    fails(1, [str(image)], "train", "--config=restorer_cxr:tiny", f"--workdir={image / 'run'}", *flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "status, told, words",
    [
        (2, ["no split 'tset'", "train, validation, test"], ["evaluate", "--split=tset"]),
        (2, ["takes the config of its workdir"], ["evaluate", "--config.seed=1"]),
        (2, ["no column 'foo'", "sex, age, view, labels"], ["evaluate", "--by=foo"]),
        (2, ["data the run has not seen"], ["evaluate", "--data_source=phantom_cxr", "--output=out"]),
        (2, ["--output of its own"], ["evaluate", "--data_source=actualmed"]),
        (2, ["at least 2 samples"], ["evaluate", "--samples=1"]),
        (2, ["unknown argument '--foo'"], ["enhance", "x.png", "--output=out", "--foo"]),
        (1, ["/nowhere.png: no such file"], ["enhance", "/nowhere.png", "--output=out"]),
    ],
)
def test_other_commands_say_what_is_wrong(fails, trained, tmp_path, monkeypatch, status, told, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medjax.build.evaluation.tuned_baselines", lambda *_, **__: {})
    before = contents(trained)
    fails(status, told, *words, f"--workdir={trained}")
    assert contents(trained) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [[], ["destroy"], ["train"], ["enhance", "x.png"]])
def test_usage_errors_have_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2 and "usage: medjax" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["--help"], ["--version"], *([c, "--help"] for c in ("train", "evaluate", "enhance", "inspect"))]
)
def test_help(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0 and "medjax" in capsys.readouterr().out


def test_evaluate_scores_the_test_split_and_writes_a_report(trained, tmp_path, capsys):
    out = tmp_path / "scores"
    assert main(["evaluate", f"--workdir={trained}", f"--output={out}", "--by=sex", "--samples=2"]) == 0
    printed = capsys.readouterr().out
    assert "nlm" in printed and "model" in printed and str(out / "report.html") in printed
    summary = json.loads((out / "evaluation.json").read_text())
    names = json.loads((trained / "splits.json").read_text())
    assert summary["dataset"] == "phantom_cxr" and summary["split"] == "test" and summary["n"] == len(names["test"])
    assert {"input", "gaussian", "median", "bilateral", "nlm", "tv", "wavelet", "clahe", "model"} == set(summary["rows"])
    low, high = summary["rows"]["model"]["psnr"]["ci95"]
    assert low <= summary["rows"]["model"]["psnr"]["mean"] <= high
    assert summary["protocol"]["resolution"] == 32 and summary["protocol"]["predict_norm"] == "batch"
    lines = (out / "evaluation.csv").read_text().splitlines()
    assert len(lines) == 1 + summary["n"] and lines[1].split(",")[0] in names["test"]
    html = (out / "report.html").read_text()
    assert "data:image/png;base64" in html and "http" not in html.split("<body")[0].replace("http-equiv", "")


def test_enhance_keeps_format_depth_and_size_and_goes_on_after_a_bad_file(trained, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    eight, sixteen = rng.integers(0, 256, (45, 70)).astype(np.uint8), rng.integers(0, 65536, (51, 33)).astype(np.uint16)
    Image.fromarray(eight).save(folder / "eight.png")
    Image.fromarray(sixteen).save(folder / "deep" / "sixteen.png")
    (folder / "broken.png").write_bytes((folder / "eight.png").read_bytes()[:100])
    assert main(["enhance", str(folder), f"--workdir={trained}", f"--output={out}"]) == 1
    printed = capsys.readouterr()
    told = [line for line in printed.err.splitlines() if line.startswith("medjax: ")]
    assert len(told) == 1 and "broken.png" in told[0] and "Traceback" not in printed.err
    assert "2 images written" in printed.out
    for name, image in {"eight.png": eight, "deep/sixteen.png": sixteen}.items():
        found = np.asarray(Image.open(out / name))
        assert found.dtype == image.dtype and found.shape == image.shape
        assert not np.array_equal(found, image)
    assert main(["enhance", str(folder / "eight.png"), f"--workdir={trained}", f"--output={out}"]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_test_every_patient_once(flags, tmp_path, capsys):
    """Three folds, three runs, and one table over all patients; one classical row will do."""
    words = ["--config=restorer_cxr:tiny", f"--workdir={tmp_path}", "--config.evaluation.baselines=('gaussian',)", *flags]
    assert main(["train", *words, "--folds=3"]) == 0
    splits = [json.loads((tmp_path / f"fold_{i}" / "splits.json").read_text()) for i in range(3)]
    tested = [name for part in splits for name in part["test"]]
    everyone = sorted(name for names in splits[0].values() for name in names)
    assert sorted(tested) == everyone
    assert main(["evaluate", f"--workdir={tmp_path}", "--features="]) == 0
    summary = json.loads((tmp_path / "evaluation.json").read_text())
    assert summary["n"] == len(everyone) and "every patient is tested on once" in summary["protocol"]["folds"]
    parts = [json.loads((tmp_path / f"fold_{i}" / "evaluation.json").read_text()) for i in range(3)]
    mean = sum(p["n"] * p["rows"]["model"]["psnr"]["mean"] for p in parts) / summary["n"]
    assert summary["rows"]["model"]["psnr"]["mean"] == pytest.approx(mean)
    assert (tmp_path / "report.html").exists()
    assert "averaging" in summary["protocol"] and summary["protocol"]["averaging"].count("first over") <= 1
    assert main(["evaluate", f"--workdir={tmp_path}", "--split=train"]) == 2
    assert "test patients of each" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "fold_1")
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={tmp_path}"]) == 1
    assert "2 of 3 folds" in capsys.readouterr().err
    assert main(["train", *words, "--folds=2"]) == 2


def test_seeds_are_runs_of_their_own(flags, tmp_path, capsys):
    """Two seeds, two workdirs that differ in the seed alone, and in what came of it."""
    words = ["--config=restorer_cxr:tiny", f"--workdir={tmp_path}", *flags]
    assert main(["train", *words, "--seeds=2"]) == 0
    configs = [json.loads((tmp_path / f"seed_{i}" / "config.json").read_text())["config"] for i in (0, 1)]
    assert [c.pop("seed") for c in configs] == [0, 1] and configs[0] == configs[1]
    splits = [(tmp_path / f"seed_{i}" / "splits.json").read_text() for i in (0, 1)]
    assert splits[0] == splits[1], "seeds are compared on the same test images"
    rows = [json.loads((tmp_path / f"seed_{i}" / "metrics.jsonl").read_text().splitlines()[-1]) for i in (0, 1)]
    assert rows[0]["g_loss"] != rows[1]["g_loss"]
    before = contents(tmp_path / "seed_0" / "checkpoints")
    assert main(["train", *words, "--seeds=2"]) == 0  # the same command again: both are complete
    assert capsys.readouterr().out.count("complete at step 4") == 2
    assert contents(tmp_path / "seed_0" / "checkpoints") == before
