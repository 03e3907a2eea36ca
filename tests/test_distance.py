"""Two folders of images compared over feature networks, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from medjax.build import distance
from medjax.cli import main
from medjax.metrics import features
from medjax.types import DataError

pytestmark = pytest.mark.usefixtures("quick_compile")
KID = "kid/random_alexnet.relu3"


def fill(folder, count, seed=0, dark=1.0, sides=(40,)):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        side = sides[i % len(sides)]
        Image.fromarray((rng.uniform(size=(side, side)) * 255 * dark).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def test_two_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    a, b = fill(tmp_path / "a", 8), fill(tmp_path / "b", 9, 1, 0.5, sides=(40, 72))  # sizes that differ, resized alike
    out = tmp_path / "found.json"
    assert main(["distance", str(a), str(b), f"--output={out}"]) == 0
    printed = capsys.readouterr().out
    assert "n = 8 and 9 images" in printed and "fewer than 2048" in printed and "pytorch-fid" in printed
    found = json.loads(out.read_text())
    assert found["n"] == [8, 9] and found["features"]["other"]["fd/random_alexnet.relu3"]["value"] > 1
    kept = list((tmp_path / "cache" / "medjax" / "features").iterdir())
    assert len(kept) == 1  # the reference's alone


def test_the_reference_is_read_back_and_a_changed_one_is_not(tmp_path, monkeypatch):
    a, b = fill(tmp_path / "a", 4), fill(tmp_path / "b", 4, 1)
    asked = {"networks": ("random_alexnet",), "metrics": ("fd",), "cache": tmp_path / "cache", "progress": False}
    first = distance.folders(a, b, **asked)["features"]["other"]["fd/random_alexnet.relu3"]["value"]
    calls, plain = [], features.extract
    monkeypatch.setattr(features, "extract", lambda *args, **options: calls.append(1) or plain(*args, **options))
    again = distance.folders(a, b, **asked)["features"]["other"]["fd/random_alexnet.relu3"]["value"]
    assert again == pytest.approx(first, rel=1e-6) and len(calls) == 1
    Image.new("L", (40, 40)).save(a / "0.png")
    distance.folders(a, b, **asked)
    assert len(calls) == 3 and len(list((tmp_path / "cache").iterdir())) == 2


def test_identical_folders_have_no_distance(tmp_path):
    a = fill(tmp_path / "a", 6)
    asked = {"networks": ("random_alexnet",), "metrics": ("fd", "precision"), "cache": tmp_path / "cache", "progress": False}
    found = distance.folders(a, a, **asked)["features"]["other"]
    assert abs(found["fd/random_alexnet.relu3"]["value"]) < 1e-3
    assert found["precision/random_alexnet.relu3"]["value"] == 1.0


def test_bad_folders_and_names(tmp_path, capsys):
    a, one, empty = fill(tmp_path / "a", 3), fill(tmp_path / "one", 1), fill(tmp_path / "empty", 0)
    for words, status, told in (
        ([a, one], 1, "holds one image"), ([a, empty], 1, "has no image"), ([tmp_path / "absent", a], 1, "absent"),
        ([a, a, "--features=vgg99"], 2, "'vgg99' is none of"), ([a, a, "--features=lpips_alex"], 2, "compares an image"),
        ([a, a, "--metrics=fidd", "--features=random_alexnet"], 2, "'fidd'"),
    ):  # fmt: skip
        assert main(["distance", *map(str, words)]) == status, words
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1, error


def test_few_images_say_why(tmp_path, capsys):
    a = fill(tmp_path / "a", 3)
    assert main(["distance", str(a), str(a), "--features=random_alexnet"]) == 0
    assert "needs more than 5 images" in capsys.readouterr().out


def test_a_damaged_picture_is_named(tmp_path):
    a = fill(tmp_path / "a", 3)
    (a / "1.png").write_bytes((a / "1.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"1\.png"):
        distance.folders(a, a, networks=("random_alexnet",), cache=tmp_path / "cache", progress=False)
