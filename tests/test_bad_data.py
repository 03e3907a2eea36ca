"""What bad input gets: one sentence naming the file and the cause, through the threads of a running pipeline too."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
from PIL import Image

from medjax.build.data import ON_DISK
from medjax.data import pipeline, sources
from medjax.data.degrade import Degradation
from medjax.types import DataError, MedjaxError


def grey(seed=0, shape=(40, 40)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    """A folder with one good image."""
    Image.fromarray(grey()).save(tmp_path / "a.png")
    return tmp_path


def cut(path):
    Image.fromarray(grey(1)).save(path)
    path.write_bytes(path.read_bytes()[:600])


def nan(path):
    tifffile.imwrite(path, np.where(grey(1) > 200, np.nan, 0.5).astype(np.float32))


def colour(path):
    Image.fromarray(np.stack([grey(1), grey(2), grey(3)], -1)).save(path)


def small(path):
    Image.fromarray(grey(1, (30, 60))).save(path)


def wrong_kind(path):
    Image.fromarray(grey(1)).save(path, format="GIF")


BAD = [
    ("b.png", cut, "cut short"), ("b.tif", nan, "NaN"), ("b.png", colour, "colour"), ("b.png", small, "smaller than the crop"),
    ("b.png", wrong_kind, "but GIF"), ("b.png", lambda path: path.write_bytes(b""), "empty"),
]  # fmt: skip


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(("name", "make", "cause"), BAD, ids=[f"{cause}" for *_, cause in BAD])
def test_a_bad_image_is_named_from_inside_the_pipeline(data, name, make, cause, threads):
    make(data / name)
    with pytest.raises(DataError, match=cause) as caught:
        source = sources.folder(data)
        batches = pipeline.train_batches(
            source, range(2), batch_size=2, image_size=None, crop_size=32, degradation=Degradation(), threads=threads
        )
        next(batches(0))
    message = str(caught.value)
    assert str(data / name) in message and "\n" not in message and caught.value.exit_status == 1


@pytest.mark.parametrize(("name", "make", "cause"), [bad for bad in BAD if bad[2] != "smaller than the crop"])
def test_evaluation_names_it_too(data, name, make, cause):
    make(data / name)
    with pytest.raises(DataError, match=cause):
        list(pipeline.eval_batches(sources.folder(data, check=False), range(2), batch_size=2, image_size=32))


def test_images_of_several_sizes_need_one(data):
    small(data / "b.png")
    with pytest.raises(MedjaxError, match="cannot share a batch"):
        list(pipeline.eval_batches(sources.folder(data), range(2), batch_size=2, image_size=None))
    shapes = [
        b["target"].shape for b in pipeline.eval_batches(sources.folder(data), range(2), batch_size=1, image_size=None)
    ]
    assert shapes == [(1, 40, 40, 1), (1, 30, 60, 1)]


@pytest.mark.parametrize("kind", ["folder", "pairs", "nih_cxr14", "actualmed", "mri_pairs", "volumes", "mnist"])
def test_absent_and_empty_folders(tmp_path, kind):
    make = ON_DISK[kind][0]
    for root in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match=str(tmp_path)):
            make(root)


def test_a_source_without_targets(tmp_path):
    for folder, names in (("source", "abcde"), ("target", "a")):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(grey()).save(tmp_path / folder / f"{name}.png")
    with pytest.raises(DataError, match=r"4 of 5 .*b\.png, c\.png, d\.png, \.\.\."):
        sources.pairs(tmp_path)


@pytest.mark.parametrize(("column", "cause"), [(None, "3 of the 4 images"), (0, "Image Index"), (2, "Patient ID")])
def test_tables(data, column, cause):
    columns = ["Image Index", "Finding Labels", "Patient ID", "View Position"]
    if column is not None:
        columns[column] = "Something"
    with open(data / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, *([f"{name}.png", "No Finding", name, "PA"] for name in "abcd")])
    with pytest.raises(DataError, match=cause) as caught:
        sources.nih_cxr14(data)
    assert "labels.csv" in str(caught.value)
