"""The report finds what is wrong with a folder and fits a screen."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from heads import save as save_volume
from PIL import Image

from medjax.data.inspect import find_source, format_report, inspect
from medjax.types import DataError


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def noise(seed, shape=(20, 24), top=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def test_a_folder_with_everything_wrong(tmp_path):
    data = tmp_path / "data"
    for i in range(4):
        save(data / f"{i}.png", noise(i))
    save(data / "copy.png", noise(2))
    save(data / "blank.png", np.full((20, 24), 3, np.uint8))
    save(data / "deep.png", noise(9, (30, 20), 4096, np.uint16))
    (data / "zero.png").write_bytes(b"")
    (data / "cut.png").write_bytes((data / "0.png").read_bytes()[:200])
    report = inspect(data, output=tmp_path / "out" / "sheet.png")
    assert (report["kind"], report["records"], report["images"]) == ("folder", 9, 7)
    assert report["sizes"] == {"20 x 24": 6, "30 x 20": 1} and report["depths"] == {"png uint8": 6, "png uint16": 1}
    assert [[p.split("/")[-1] for p in g] for g in report["duplicates"]] == [["2.png", "copy.png"]]
    assert [p.split("/")[-1] for p in report["nearly_empty"]] == ["blank.png"] and len(report["bad"]) == 2
    text = format_report(json.loads(json.dumps(report)))
    assert "zero.png is empty" in text and len(text.splitlines()) < 25
    assert Image.open(tmp_path / "out" / "sheet.png").size == (8 * 128, 128)


def test_12_bit_files_are_noticed(tmp_path):
    stored = noise(0, (50, 50), 4096, np.uint16)
    stored[0, :2] = 0, 4095
    save(tmp_path / "a.png", stored)
    report = inspect(tmp_path)
    assert report["range"] == [0, 4095] and "value_range=(0, 4095)" in format_report(report)
    assert inspect(tmp_path, value_range=(0, 4095))["level"][0] == pytest.approx(0.5, abs=0.02)


def test_pairs(tmp_path):
    for i in range(3):
        for side, folder in enumerate(("source", "target")):
            save(tmp_path / folder / f"{i}.png", noise(10 * i + side))
    report = inspect(tmp_path)
    assert (report["kind"], report["records"], report["images"], report["bad"]) == ("pairs", 3, 6, [])
    save(tmp_path / "target" / "2.png", noise(5, (8, 8)))
    assert "pair 2 differ in size" in inspect(tmp_path)["bad"][0]


def test_leaks_between_official_lists_and_given_splits(tmp_path):
    names = [f"{i}.png" for i in range(6)]
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        rows = [[name, "Mass|Nodule", str(i // 2), "PA"] for i, name in enumerate(names)]
        csv.writer(file).writerows([["Image Index", "Finding Labels", "Patient ID", "View Position"], *rows])
    for i, name in enumerate(names):
        save(tmp_path / "images" / name, noise(i % 5))  # 5.png is 0.png
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:3]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[3:]))
    report = inspect(tmp_path)
    assert report["labels"] == {"Mass": 6, "Nodule": 6} and report["splits"] == {"train_val": 3, "test": 3}
    assert report["shared_patients"] == {"1": ["train_val", "test"]}
    assert report["duplicates_across_splits"] == [["0.png", "5.png"]]
    assert "1 patients and 1 images in more than one split" in format_report(report)
    fine = inspect(tmp_path, splits={"train": names[:4] + names[5:], "test": names[4:5]})
    assert fine["duplicates_across_splits"] == [] and list(fine["shared_patients"]) == ["2"]


def test_layouts_are_recognised(tmp_path, real_data):
    assert find_source(real_data / "cxr_nih").kind == "nih_cxr14"
    assert find_source(real_data / "cxr_actualmed").kind == "actualmed"
    assert find_source(real_data / "cxr_nih" / "images_1024").kind == "folder"
    with pytest.raises(DataError, match="absent"):
        inspect(tmp_path / "absent")
    with pytest.raises(DataError, match="no image"):
        inspect(tmp_path)


def test_real_data_are_clean(real_data):
    report = inspect(real_data / "cxr_nih", limit=40)
    assert (report["images"], report["bad"], report["duplicates"], report["nearly_empty"]) == (40, [], [], [])
    assert report["patients"] == 240 and 0.4 < report["level"][0] < 0.7


def test_volumes_are_described(tmp_path):
    for name, options in (("a", {}), ("b", {"codes": "LPS"}), ("c", {"spacing": 3.0})):
        for contrast in ("T1", "T2"):
            save_volume(tmp_path / f"{name}-{contrast}.nii.gz", contrast, **options)
    (tmp_path / "d-T1.nii.gz").write_bytes((tmp_path / "a-T1.nii.gz").read_bytes()[:2000])
    report = json.loads(json.dumps(inspect(tmp_path, output=tmp_path / "out" / "sheet.png")))
    assert (report["kind"], report["volumes"], len(report["bad"])) == ("volumes", 6, 1)
    assert report["shapes"] == {"48 x 48 x 48": 4, "32 x 32 x 32": 2} and report["orientations"] == {"RAS": 4, "LPS": 2}
    assert report["spacings"] == {"2 x 2 x 2": 4, "3 x 3 x 3": 2} and report["contrasts"] == {"T1": 4, "T2": 3}
    assert report["range"][0] == 0 and report["range"][1] > 1000 > 900 >= report["highest"][0] and report["stripped"] == 6
    text = format_report(report)
    assert "d-T1.nii.gz" in text and "6 volumes in 7 of 7 places" in text and len(text.splitlines()) < 20
    assert Image.open(tmp_path / "out" / "sheet.png").size == (8 * 128, 3 * 128)  # six volumes in three planes
    assert inspect(tmp_path, limit=2)["read"] == 2


def test_volumes_that_are_one_and_pictures_beside_them_are_told(tmp_path):
    for name in ("a", "b"):
        save_volume(tmp_path / f"{name}-T1.nii.gz", "T1", seed=1)
    save_volume(tmp_path / "c-T1.nii.gz", "T1", seed=2)
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    report = inspect(tmp_path)
    assert report["duplicates"] == [["a-T1.nii.gz", "b-T1.nii.gz"]]
    text = format_report(report)
    assert "a-T1.nii.gz = b-T1.nii.gz" in text and "1 pictures lie beside the volumes" in text and "photo.png" in text


def test_a_real_series_is_described_without_its_patient(real_data):
    import pydicom

    report = inspect(real_data / "ct" / "series_Lung_Dx-A0001_s2")
    assert report["shapes"] == {"512 x 512 x 32": 1} and report["range"] == [-1024, 2576]
    header = pydicom.dcmread(next((real_data / "ct" / "series_Lung_Dx-A0001_s2").glob("*.dcm")), stop_before_pixels=True)
    text = format_report(report)
    for tag in ("StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "AccessionNumber", "PatientAge"):
        assert not header.get(tag) or str(header.get(tag)) not in text
