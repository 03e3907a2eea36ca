"""Records and images of each kind of dataset, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from medjax.data import sources
from medjax.data.records import multi_hot
from medjax.data.tables import parse_age
from medjax.types import ConfigError, DataError

COLUMNS = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
]
ROWS = [
    ["00000001_000.png", "Cardiomegaly|Emphysema", "0", "1", "058Y", "M", "PA"],
    ["00000001_001.png", "No Finding", "1", "1", "414Y", "M", "AP"],
    ["00000002_000.png", "Pneumonia", "0", "2", "007M", "F", "PA"],
    ["00000003_000.png", "Pneumonia|Mass", "0", "3", "33", "F", "LL"],
]


def picture(path, shape=(8, 9), value=7, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, dtype)).save(path)


def table(path, columns, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def nih(tmp_path):
    """ChestX-ray14 as distributed: two archives of images beside the table of 2017."""
    table(tmp_path / "Data_Entry_2017.csv", COLUMNS, ROWS)
    for i, row in enumerate(ROWS):
        picture(tmp_path / f"images_{1 + i % 2:03d}" / "images" / row[0], value=i)
    return tmp_path


def test_nih_as_distributed(nih):
    source = sources.nih_cxr14(nih)
    assert source.names == [row[0] for row in ROWS[:3]]  # the lateral is left out
    first = source.records[0]
    assert (first.patient, first.labels, first.view, first.sex, first.age) == (
        "1",
        ("Cardiomegaly", "Emphysema"),
        "PA",
        "M",
        58,
    )
    assert [round(a, 3) if a else a for a in source.column("age")] == [58, None, 0.583]
    for i in range(3):
        assert (source.load(i)["target"] == np.float32(i / 255)).all()
    assert source.label_names == sources.NIH_LABELS and len(source.label_names) == 15
    hot = np.stack([multi_hot(record, source.label_names) for record in source.records])
    assert hot.shape == (3, 15) and hot.sum(1).tolist() == [2, 1, 1]
    assert sources.label_counts(source.records) == {"Cardiomegaly": 1, "Emphysema": 1, "No Finding": 1, "Pneumonia": 1}


def test_nih_filters(nih):
    assert len(sources.nih_cxr14(nih, views=None)) == 4
    assert sources.nih_cxr14(nih, views=None, labels=["Pneumonia"]).names == [ROWS[2][0], ROWS[3][0]]
    assert sources.nih_cxr14(nih, views=None, labels=["Pneumonia"], label_mode="single").names == [ROWS[2][0]]
    assert sources.nih_cxr14(nih, label_mode="single").names == [ROWS[1][0], ROWS[2][0]]
    drawn = sources.nih_cxr14(nih, limit=2, seed=1).names
    assert len(drawn) == 2 and drawn == sorted(drawn) == sources.nih_cxr14(nih, limit=2, seed=1).names
    for wrong in ({"labels": ["Pneumonie"]}, {"label_mode": "some"}, {"missing": "ignore"}):
        with pytest.raises(ConfigError):
            sources.nih_cxr14(nih, **wrong)
    with pytest.raises(DataError, match="no row is left"):
        sources.nih_cxr14(nih, labels=["Hernia"])


def test_nih_prefers_the_newer_table_and_the_fullest_folder(nih):
    table(nih / "Data_Entry_2017_v2020.csv", COLUMNS, ROWS[:2])
    for row in ROWS[:2]:
        picture(nih / "images_1024" / row[0], value=99)
    source = sources.nih_cxr14(nih)
    assert len(source) == 2 and {r.paths[0].split("/")[-2] for r in source.records} == {"images_1024"}
    assert sources.nih_cxr14(nih, images="images_001", missing="skip").names == [ROWS[0][0]]


def test_nih_images_that_are_not_there(nih):
    (nih / "images_001" / "images" / ROWS[0][0]).unlink()
    with pytest.raises(DataError, match=r"1 of the 3 images .* 00000001_000\.png .*skip"):
        sources.nih_cxr14(nih)
    source = sources.nih_cxr14(nih, missing="skip")
    assert len(source) == 2 and "1 of the 3" in source.notes[0]


def test_nih_images_that_are_empty(nih):
    (nih / "images_001" / "images" / ROWS[0][0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"1 images are empty .*00000001_000\.png"):
        sources.nih_cxr14(nih)


def test_nih_tables_that_cannot_be_used(nih):
    path = nih / "Data_Entry_2017.csv"
    table(path, COLUMNS[:3] + ["Patient"] + COLUMNS[4:], ROWS)
    with pytest.raises(DataError, match=r"Data_Entry_2017\.csv has no column 'Patient ID'"):
        sources.nih_cxr14(nih)
    table(path, COLUMNS, [[*ROWS[0][:1], "Broken Heart", *ROWS[0][2:]]])
    with pytest.raises(DataError, match="Broken Heart"):
        sources.nih_cxr14(nih)
    table(path, COLUMNS, [*ROWS[:2], ROWS[0]])
    with pytest.raises(DataError, match=r"names 1 images more than once: 00000001_000\.png"):
        sources.nih_cxr14(nih)
    table(path, COLUMNS, [ROWS[0], [*ROWS[1][:3], "", *ROWS[1][4:]]])
    with pytest.raises(DataError, match=r"no patient for 1 images: 00000001_001\.png"):
        sources.nih_cxr14(nih)
    table(path, COLUMNS, [ROWS[0], ROWS[1][:2]])  # a line cut short has no view, so it is not frontal
    assert sources.nih_cxr14(nih).names == [ROWS[0][0]]
    table(path, COLUMNS, [])
    with pytest.raises(DataError, match="no rows"):
        sources.nih_cxr14(nih)
    path.write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(DataError, match="cannot be read as a table"):
        sources.nih_cxr14(nih)
    path.unlink()
    with pytest.raises(DataError, match="no table"):
        sources.nih_cxr14(nih)
    with pytest.raises(DataError, match="absent"):
        sources.nih_cxr14(nih / "nowhere")


@pytest.mark.parametrize(
    ("text", "years"),
    [("58", 58), ("058Y", 58), ("006M", 0.5), ("073D", 0.2), ("", None), ("old", None), ("-3", None), ("414Y", None)],
)
def test_ages(text, years):
    assert parse_age(text) == (pytest.approx(years, abs=0.001) if years is not None else None)


def test_pairs_match_by_name_whatever_the_suffix(tmp_path):
    for i, name in enumerate(["b", "a", "p2.late"]):
        picture(tmp_path / "source" / f"{name}.png", value=i)
        picture(tmp_path / "target" / f"{name}.tif", value=100 + i, dtype=np.uint16)
    source = sources.pairs(tmp_path, patient_pattern=r"^(.)")
    assert source.paired and source.names == ["a", "b", "p2.late"] and source.column("patient") == ["a", "b", "p"]
    images = source.load(1)
    assert (images["source"] == 0).all() and (images["target"] == np.float32(100 / 65535)).all()
    with pytest.raises(DataError, match="does not match patient_pattern"):
        sources.pairs(tmp_path, patient_pattern=r"^(\d)")
    assert "patient" in sources.pairs(tmp_path).notes[0]


def test_pairs_that_do_not_match(tmp_path):
    for name in "abcdef":
        picture(tmp_path / "source" / f"{name}.png")
    picture(tmp_path / "target" / "a.png")
    with pytest.raises(DataError, match=r"5 of 6 images have no partner in .*target: b.png, c.png, d.png, \.\.\."):
        sources.pairs(tmp_path)
    for name in "bcdefg":
        picture(tmp_path / "target" / f"{name}.png")
    with pytest.raises(DataError, match=r"1 of 7 images have no partner in .*source: g.png$"):
        sources.pairs(tmp_path)
    picture(tmp_path / "source" / "g.png", shape=(9, 9))
    with pytest.raises(DataError, match=r"source/g.png is 9 x 9 but its partner .*target/g.png is 8 x 9"):
        sources.pairs(tmp_path)
    with pytest.raises(DataError, match="partner"):
        sources.pairs(tmp_path, check=False).load(6)
    picture(tmp_path / "source" / "g.tif")
    with pytest.raises(DataError, match="same name"):
        sources.pairs(tmp_path)
    with pytest.raises(DataError, match="absent"):
        sources.pairs(tmp_path / "source")


def test_folder(tmp_path):
    picture(tmp_path / "x" / "b.png", value=4095, dtype=np.uint16)
    picture(tmp_path / "a.png", value=0, dtype=np.uint16)
    assert sources.folder(tmp_path).names == ["a.png"]
    source = sources.folder(tmp_path, recursive=True, value_range=(0, 4095))
    assert source.names == ["a.png", "x/b.png"] and not source.paired
    assert [source.load(i)["target"].max() for i in range(2)] == [0, 1]
    (tmp_path / "x" / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"c\.png is empty"):
        sources.folder(tmp_path, recursive=True)
    with pytest.raises(DataError, match=r"c\.png"):
        sources.verify(sources.folder(tmp_path, recursive=True, check=False))


def test_a_folder_of_several_bit_depths_maps_each_by_its_own_and_says_so(tmp_path):
    picture(tmp_path / "a.png", value=255)
    picture(tmp_path / "b.png", value=65535, dtype=np.uint16)
    picture(tmp_path / "c.tif", value=32768, dtype=np.uint16)
    source = sources.folder(tmp_path, patient_pattern="(.)")
    levels = [float(source.load(i)["target"].max()) for i in range(3)]
    assert levels == pytest.approx([1, 1, 0.5], abs=1e-4)
    assert source.notes == ("the files differ in bit depth (1 of 8 bits, 2 of 16 bits): each is mapped by its own range",)
    (note,) = sources.folder(tmp_path, patient_pattern="(.)", value_range=(0, 4095)).notes
    assert note.endswith("all are mapped by the stated range (0, 4095)")
    (tmp_path / "a.png").unlink()
    assert not sources.folder(tmp_path, patient_pattern="(.)").notes


def test_cached_reads_once_and_changes_no_bit(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50), np.uint8)).save(tmp_path / "b.png")
    source = sources.folder(tmp_path)
    kept = sources.cached(source, 16, max_bytes=16 * 16 * 4)
    first = [kept.load(i)["target"] for i in range(2)]
    assert first[0].shape == (16, 16, 1) and kept.load(0)["target"] is first[0]
    assert kept.load(1)["target"] is not first[1]  # beyond the budget
    np.testing.assert_array_equal(kept.load(1)["target"], first[1])
    with pytest.raises(ValueError):
        first[0][0] = 3  # nobody can spoil what is kept
    np.testing.assert_array_equal(sources.cached(source, None).load(0)["target"], source.load(0)["target"])


def test_subset_renumbers(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png", value=i)
    part = sources.subset(sources.folder(tmp_path), [2, 0])
    assert part.names == ["2.png", "0.png"] and part.load(0)["target"].max() == np.float32(2 / 255)


def test_phantoms_are_pure_functions_of_seed_and_index():
    source = sources.phantom_cxr(6, size=32, seed=5, findings=["Mass", "No Finding"])
    assert source.column("labels") == ["Mass", "No Finding"] * 3 and len(set(source.names)) == 6
    assert len({r.patient for r in source.records}) == 6 and {r.view for r in source.records} <= {"AP", "PA"}
    image = source.load(4)["target"]
    assert image.shape == (32, 32, 1) and image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1
    np.testing.assert_array_equal(image, sources.phantom_cxr(5, size=32, seed=5, findings=["Mass"]).load(4)["target"])
    with pytest.raises(ConfigError, match="Flu"):
        sources.phantom_cxr(2, findings=["Flu"])
    with pytest.raises(DataError):
        sources.phantom_cxr(0)


def test_real_tables(real_data):
    source = sources.nih_cxr14(real_data / "cxr_nih")
    assert len(source) == 240 and {len({r.patient for r in source.records})} == {240}
    assert {"images_512"} == {r.paths[0].split("/")[-2] for r in source.records}
    counts = sources.label_counts(source.records)
    assert counts["Pneumonia"] == counts["No Finding"] == 120 and counts["Infiltration"] == 44
    assert len(sources.nih_cxr14(real_data / "cxr_nih", labels=["Pneumonia"], label_mode="single")) == 25
    assert len(sources.nih_cxr14(real_data / "cxr_nih", images="images_1024", missing="skip")) == 24
    other = sources.actualmed(real_data / "cxr_actualmed")
    assert len(other) == 34 and len(set(other.column("patient"))) == 32
    assert sum(u.endswith("170") for u in other.column("unit")) == 21
    assert max(other.load(0)["target"].shape) == 512
