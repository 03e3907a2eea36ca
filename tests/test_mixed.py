"""Single images of MR volumes, several kinds of data in one source, and the column that tells modalities apart."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from heads import grid, places, save
from medical_files import dicom
from medical_files import save as save_dicom
from PIL import Image

from medjax.build import data as build_data
from medjax.data import splits
from medjax.data.mixed import combined, tagged
from medjax.data.records import Record, Source
from medjax.data.volumes import mri_slices, volumes
from medjax.formats.volume import plain, write_volume
from medjax.inference import enhance_files
from medjax.types import ConfigError, DataError


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Four heads in two contrasts with a table, four CT scans, four films."""
    root = tmp_path_factory.mktemp("hospital")
    for n in range(4):
        for contrast in ("T1", "T2"):
            save(root / "mri_t1_t2" / contrast / f"P{n}-{contrast}.nii.gz", contrast, seed=n, spacing=4.0)
        shape, affine = grid(4.0, 96.0)
        points = places(shape, affine)
        scan = np.where(np.hypot(points[..., 0], points[..., 1]) < 30 + n, 40.0, -1000.0)
        (root / "ct" / f"case{n}").mkdir(parents=True)
        write_volume(root / "ct" / f"case{n}" / "scan.nii.gz", plain(scan, affine, dtype="int16"))
        (root / "films").mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40), np.uint8)).save(root / "films" / f"{n}.png")
    table = "name,sex,age,site\n" + "".join(f"P{n},{'MF'[n % 2]},{30 + n},north\n" for n in range(4))
    (root / "mri_t1_t2" / "subjects.csv").write_text(table)
    return root


def test_one_contrast_of_mr_volumes_is_a_source_of_single_images(hospital):
    source = mri_slices(hospital / "mri_t1_t2", contrast="T1", step_mm=12.0)
    assert source.kind == "mri_slices" and not source.paired and len(source) > 12
    assert {r.patient for r in source.records} == {"P0", "P1", "P2", "P3"} and not source.notes
    record = source.records[0]
    assert (record.sex, record.age, record.extra["site"]) == ("M", 30.0, "north")
    assert (record.extra["modality"], record.extra["contrast"], record.name[:10]) == ("MR", "T1", "T1/P0-T1_a")
    other = mri_slices(hospital / "mri_t1_t2", contrast="T2", step_mm=12.0)
    assert len(other) == len(source)
    assert abs(source.load(5)["target"] - other.load(5)["target"]).max() > 0.2, "another contrast, another image"
    highest = max(source.load(i)["target"].max() for i in range(len(source)))
    assert highest == 1.0 and source.load(5)["target"].dtype == np.float32
    with pytest.raises(DataError, match=r"has 8 volumes, and none whose name matches '\[-_\]PD\$': T1/P0-T1, T1/P1-T1"):
        mri_slices(hospital / "mri_t1_t2", contrast="PD")


def test_names_pick_volumes_and_values_tell_the_modality(hospital):
    source = volumes(hospital, names="case[01]/|P2-T1$", window="percentiles", step_mm=24.0)
    by_name = {r.name.partition("_axial")[0]: r.extra["modality"] for r in source.records}
    assert by_name == {"ct/case0/scan": "CT", "ct/case1/scan": "CT", "mri_t1_t2/T1/P2-T1": "MR"}
    with pytest.raises(ConfigError, match="no regular expression"):
        volumes(hospital, names="(")


def made(kind, count, *, paired=False, modality="", labels=()):
    extra = {"modality": modality} if modality else {}
    records = tuple(Record(f"{i}.png", f"{kind}{i}", extra=extra, labels=labels) for i in range(count))
    return Source(kind, records, lambda i: {"target": np.full((4, 4, 1), i, np.float32)}, labels, paired, (f"of {kind}",))


def test_sources_are_joined_record_by_record():
    both = combined([("a", made("a", 2, labels=("x",))), ("b", made("b", 3, modality="CT", labels=("x", "y")))])
    assert both.names == ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png"]
    assert [both.load(i)["target"][0, 0, 0] for i in range(5)] == [0, 1, 0, 1, 2]
    assert both.label_names == ("x", "y") and both.column("modality") == ["", "", "CT", "CT", "CT"]
    assert both.notes == ("images of each source: a 2, b 3", "a: of a", "b: of b")
    assert tagged(both, "CXR").column("modality") == ["CXR", "CXR", "CT", "CT", "CT"]
    for parts, told in (
        ([("a", made("a", 2))], "two or more different sources, not a"),
        ([("a", made("a", 2)), ("a", made("a", 2))], "two or more different sources, not a, a"),
        ([("a", made("a", 2)), ("p", made("p", 2, paired=True))], "a: single images; p: pairs"),
    ):
        with pytest.raises(ConfigError, match=told):
            combined(parts)


def test_every_modality_is_dealt_by_the_same_shares():
    records = [Record(f"{m}{p}_{k}", f"{m}{p}") for m, n in (("CXR", 20), ("CT", 5)) for p in range(n) for k in range(2)]
    strata = [r.patient.rstrip("0123456789") for r in records]
    found = splits.by_stratum(records, strata, seed=1, fractions=(0.6, 0.2, 0.2))
    splits.check_disjoint(records, found)
    assert sorted(i for part in found.values() for i in part) == list(range(50))
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        patients = {records[i].patient for i in found[name]}
        assert {m: sum(p.startswith(m) for p in patients) for m in ("CXR", "CT")} == {"CXR": 20 * share, "CT": 5 * share}
    with pytest.raises(DataError, match="CT: 2 patients cannot be dealt into 3 splits"):
        splits.by_stratum(records[:44], strata[:44], fractions=(0.6, 0.2, 0.2))
    shared = [Record("a", "P"), Record("b", "P"), *(Record(f"{i}", f"{i}") for i in range(9))]
    found = splits.by_stratum(shared, ["CT", "MR", *["CT"] * 9], seed=0)
    splits.check_disjoint(shared, found)


MIXED = ("data.source=mixed", "data.mixed.kinds=('folder:films','volumes','mri_slices')")
SHARES = "data.split=(0.5,0.25,0.25)"
OPTIONS = ("data.folder.modality=CXR", "data.volumes.step_mm=24.0", "data.mri_slices.step_mm=24.0")


def test_a_config_joins_kinds_with_the_options_of_each(tiny, hospital):
    config = tiny(*MIXED, SHARES, *OPTIONS, f"data.root={hospital}", "data.balance=oversample", name="esrgan:tiny")
    data = build_data.open_data(config)
    assert data.source.kind == "mixed" and data.root == str(hospital)
    per_modality = {m: data.source.column("modality").count(m) for m in ("CXR", "CT", "MR")}
    assert per_modality["CXR"] == 4 and min(per_modality.values()) > 3
    for part in data.splits.values():
        assert {data.source.records[i].extra["modality"] for i in part} == {"CXR", "CT", "MR"}
    assert any(n.startswith("balanced by modality, an epoch repeats images: CT x") for n in data.source.notes)
    batches, seen = build_data.train_batches(config, data)(0), []
    for batch, _ in zip(batches, range(30), strict=False):
        assert batch["source"].shape == (2, 8, 8, 1) and batch["target"].shape == (2, 32, 32, 1)
        seen += [data.source.records[i].extra["modality"] for i in batch["index"]]
    assert max(seen.count(m) for m in set(seen)) - min(seen.count(m) for m in set(seen)) < 12


@pytest.mark.parametrize(
    "overrides, error, told",
    [
        (["data.mixed.kinds=('volumes',)"], ConfigError, "two or more other kinds of data, not volumes"),
        (["data.mixed.kinds=('volumes','mixed')"], ConfigError, "not volumes, mixed"),
        (["data.mixed.kinds=('volumes','scans')"], ConfigError, "unknown data source 'scans'"),
        (["data.mixed.kinds=('volumes','folder:nothing')"], DataError, "nothing .* is absent"),
        (["data.split=(8,2,2)"], ConfigError, "several modalities are dealt .CT, CXR, MR."),
        (["data.balance=always"], ConfigError, "none or oversample"),
        (["data.balance=oversample", "data.folder.modality="], ConfigError, "the modality of some images of mixed is not known"),
    ],
)
def test_mixtures_that_cannot_be_are_named(tiny, hospital, overrides, error, told):
    with pytest.raises(error, match=told):
        given = (*MIXED[: 1 if "kinds" in overrides[0] else 2], *OPTIONS, f"data.root={hospital}", *overrides)
        build_data.open_data(tiny(*given, name="esrgan:tiny"))


def test_files_are_mapped_by_their_modality(tiny, hospital, tmp_path):
    """A run of several modalities reads CT in its window, films by their type, and no MR image, which has no unit."""
    values = np.arange(-1100, 500, 100).reshape(4, 4).astype(np.int16)
    save_dicom(dicom(values, bits=16, signed=True), tmp_path / "ct.dcm")
    (tmp_path / "mr").mkdir()
    save_dicom(dicom(values, bits=16, signed=True, Modality="MR"), tmp_path / "mr" / "IM0001")
    save_dicom(dicom(values, bits=16, signed=True, Modality="CR"), tmp_path / "film.dcm")
    of = build_data.value_range(tiny(*MIXED, f"data.root={hospital}", name="esrgan:tiny"))
    assert of(tmp_path / "ct.dcm") == (-1000.0, 400.0)
    assert of(tmp_path / "film.dcm") is None and of(hospital / "films" / "0.png") is None
    with pytest.raises(DataError, match="IM0001 is an MR image: its values have no unit"):
        of(tmp_path / "mr" / "IM0001")
    outcome = enhance_files(lambda x: x, [tmp_path], tmp_path / "out", value_range=of, tile=64, overlap=8, progress=False)
    assert sorted(path.name for path in outcome.written) == ["ct.dcm", "film.dcm"] and "IM0001" in outcome.failed[0][1]
    stored = pydicom.dcmread(tmp_path / "out" / "ct.dcm").pixel_array
    np.testing.assert_array_equal(stored, values.clip(-1000, 400))
