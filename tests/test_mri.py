"""A T1 slice and its T2 slice show the same place, at the same millimetres per pixel, or there is no pair."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import pytest
from heads import COARSE, RADII, contrasts, opened, save_pair, turned

from medjax.data import pipeline, survey
from medjax.data.augment import resize
from medjax.data.mri import mri_pairs
from medjax.data.splits import by_patient
from medjax.types import ConfigError, DataError


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three subjects: T1 and T2 stored alike, stored differently, and with other voxels."""
    root = tmp_path_factory.mktemp("three")
    save_pair(root, "IXI001-Guys-0001", t1=COARSE | {"codes": "LPS"})
    sagittal, axial = {"side": 96.0, "spacing": (2.0, 2.0, 3.0), "codes": "PSR"}, {"side": 99.0, "spacing": 3.0, "codes": "LAS"}
    save_pair(root, "IXI002-HH-0002", t1=sagittal, t2=axial)
    save_pair(root, "IXI003-IOP-0003", t1=COARSE | {"spacing": 2.0})
    (root / "subjects.csv").write_text("name,cohort,age,sex\nIXI001-Guys-0001,adult,35,F\nIXI003-IOP-0003,child,7,M\n")
    return root


def test_slices_of_a_pair_show_one_place(three):
    source = opened(three, range_mm=(-20, 20), step_mm=10, fov_mm=96)
    assert source.kind == "mri_pairs" and source.paired and len({r.patient for r in source.records}) == 3
    assert len(source) == 15 and len(set(source.names)) == 15
    for i, record in enumerate(source.records):
        images, pixel = source.load(i), 96 / source.load(i)["source"].shape[0]
        side = images["source"].shape[0]
        position = float(record.extra["position_mm"])
        assert record.name.startswith(record.patient) and record.name.endswith(f"_axial_{position:+.1f}mm")
        # What the formula has at each pixel: front up, the patient's right on the left.
        steps = (np.arange(side) - (side - 1) / 2) * pixel
        y, x = np.meshgrid(-steps, -steps, indexing="ij")
        centre = np.array(record.extra["centre_mm"].split(), float)
        # The grid's own centres lie up to half a voxel from the middle of the canvas.
        expected = contrasts(np.stack([x + centre[0], y + centre[1], np.full_like(x, position + centre[2])], -1))
        for role, contrast in (("source", "T1"), ("target", "T2")):
            found, truth = images[role][..., 0], expected[contrast]
            assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.93, (record.name, role)
        inside = images["region"][..., 0] == 1
        assert (inside == (expected["T1"] > 0)).mean() > 0.94
        assert (images["source"][~inside] == 0).mean() > 0.95 and set(np.unique(images["region"])) == {0.0, 1.0}
        assert all(x.dtype == np.float32 and x.min() >= 0 and x.max() <= 1 for x in images.values())


def test_every_subject_has_the_same_millimetres_per_pixel(three):
    """The head's outline, resized to one grid, does not depend on the voxel size."""
    source = opened(three, range_mm=(0, 0), step_mm=5)
    assert {r.extra["fov_mm"] for r in source.records} == {"80"}  # 2 x 40 mm, a multiple of 8
    areas = [resize(source.load(i)["region"], 64, resampler="box").mean() * 80**2 for i in range(3)]
    np.testing.assert_allclose(areas, np.pi * RADII[0] * RADII[1], rtol=0.05)
    widths = [resize(source.load(i)["region"], 64).max(axis=(1, 2)).sum() * 80 / 64 for i in range(3)]
    np.testing.assert_allclose(widths, 2 * RADII[1], atol=5)


def test_records_tell_where_a_slice_comes_from_and_how_its_values_were_mapped(three):
    source = opened(three, range_mm=(-3, 3), subjects="IXI001")
    record = source.records[0]
    assert (record.patient, record.age, record.sex, record.extra["cohort"]) == ("IXI001-Guys-0001", 35.0, "F", "adult")
    assert [os.path.basename(p) for p in record.paths] == ["IXI001-Guys-0001-T1.nii.gz", "IXI001-Guys-0001-T2.nii.gz"]
    stored = nibabel.as_closest_canonical(nibabel.load(record.paths[0])).get_fdata()
    assert float(record.extra["source_high"]) == pytest.approx(np.percentile(stored[stored != 0], 99.5), rel=0.01)
    low, high = float(record.extra["source_low"]), float(record.extra["source_high"])
    plane = np.rot90(stored[:, :, int(record.extra["slice"])])[:, ::-1]
    back = source.load(0)["source"][..., 0] * (high - low) + low
    inner = back[back.shape[0] // 2]
    assert low == 0 and all(np.abs(plane.clip(0, high) - v).min() < 0.01 for v in inner)
    assert float(record.extra["nmi"]) > float(record.extra["nmi_shifted"]) and record.extra["registration"] == "none"


def test_neighbours_become_channels(three):
    alone = opened(three, subjects="003", min_foreground=0)
    thick = opened(three, subjects="003", range_mm=(-4, 4), context=2)
    numbers = [int(r.extra["slice"]) for r in alone.records]
    for i, record in enumerate(thick.records):
        image, k = thick.load(i)["source"], numbers.index(int(record.extra["slice"]))
        assert image.shape[-1] == 5
        for c, offset in enumerate(range(-2, 3)):
            np.testing.assert_array_equal(image[..., c], alone.load(k + offset)["source"][..., 0])
        np.testing.assert_array_equal(thick.load(i)["target"], alone.load(k)["target"])
    ends = opened(three, subjects="003", context=1, min_foreground=0)
    first = ends.load(0)["source"]
    assert first.shape[-1] == 3


def test_direction_plane_and_steps(three):
    there, back = (opened(three, direction=d, subjects="001", range_mm=(0, 9)) for d in (("T1", "T2"), ("T2", "T1")))
    np.testing.assert_array_equal(there.load(0)["source"], back.load(0)["target"])
    assert back.records[0].extra["contrasts"] == "T2>T1"
    for plane in ("coronal", "sagittal"):
        source = opened(three, plane=plane, range_mm=(-12, 12), step_mm=6, exclude="00[23]")
        assert [float(r.extra["position_mm"]) for r in source.records] == pytest.approx([-12, -6, 0, 6, 12], abs=1.5)
    assert len({r.extra["slice"] for r in source.records}) == 5


def test_pipeline_keeps_regions_masks_and_splits_by_subject(three):
    source = opened(three, range_mm=(-10, 10), context=1)
    options = {"batch_size": 4, "image_size": 40, "crop_size": 32, "seed": 1}
    batch = next(pipeline.train_batches(source, range(len(source)), **options)(0))
    assert batch["source"].shape == (4, 32, 32, 3) and batch["target"].shape == batch["region"].shape == (4, 32, 32, 1)
    assert set(np.unique(batch["region"])) <= {0.0, 1.0} and batch["source"].min() == -1
    dark = batch["target"][..., 0] < -0.98
    assert ((batch["region"][..., 0] == 0) & ~dark).mean() < 0.06  # one geometry for all of them
    found = by_patient(source.records, counts=(1, 1, 1))
    assert {len({source.records[i].patient for i in side}) for side in found.values()} == {1}


def test_by_index_is_another_anatomy_and_says_so(three):
    source = opened(three, slices="index", index_range=(20, 24))
    assert any("by index" in note and "different anatomy" in note for note in source.notes)
    assert {int(r.extra["slice"]) for r in source.records} == set(range(20, 25))
    for wrong in ({"slices": "index"}, {"slices": "mm", "index_range": (1, 2)}, {"slices": "thick"}):
        with pytest.raises(ConfigError, match="index"):
            opened(three, **wrong)


def test_a_pair_that_fits_far_worse_than_the_others_stands_out(tmp_path):
    for number in range(5):
        save_pair(tmp_path, f"S{number:02d}-X-0001", seed=number)
    path = tmp_path / "S04-X-0001-T2.nii.gz"  # two people in one space are as far apart as an image and much noise
    image = nibabel.load(path)
    values = image.get_fdata()
    values[values > 0] += np.random.default_rng(0).normal(0, 300, (values > 0).sum())
    nibabel.save(nibabel.Nifti1Image(values.clip(0).astype(np.int16), image.affine), path)
    notes = mri_pairs(tmp_path, cache="off", range_mm=(-10, 10)).notes
    assert any("1 pairs score far below the usual" in note and "S04-X-0001" in note for note in notes), notes
    notes = mri_pairs(tmp_path, cache="off", range_mm=(-10, 10), exclude="S04").notes
    assert not any("far below" in note for note in notes)


def test_layouts(tmp_path, three):
    save_pair(tmp_path / "folders", "a", flat=False)
    assert opened(tmp_path / "folders").records[0].patient == "a"
    for contrast in ("T1", "T2"):
        os.makedirs(tmp_path / "ixi" / f"IXI-{contrast}")
        name = f"IXI001-Guys-0001-{contrast}.nii.gz"
        os.symlink(three / name, tmp_path / "ixi" / f"IXI-{contrast}" / name)
    assert opened(tmp_path / "ixi").records[0].patient == "IXI001-Guys-0001"


def test_a_pair_that_does_not_fit_is_refused_or_registered(tmp_path):
    fine = {"side": 96.0, "spacing": 2.0}
    save_pair(tmp_path, "odd", t1=fine, moved=turned(6, 2, (9, -5, 8)))
    with pytest.raises(DataError, match=r"odd-T2\.nii\.gz does not lie on .*odd-T1\.nii\.gz.*registration=\"rigid\"") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    cache = tmp_path / "cache"
    source = opened(tmp_path, registration="rigid", cache=str(cache), range_mm=(-6, 6))
    extra = source.records[0].extra
    assert extra["registration"] == "rigid" and float(extra["nmi"]) > float(extra["nmi_before"]) + 0.1
    assert len(list(cache.iterdir())) == 1 and any("odd (" in note and "before and after" in note for note in source.notes)
    save_pair(tmp_path / "straight", "odd", t1=fine)
    straight = opened(tmp_path / "straight", range_mm=(-6, 6))
    error = np.abs(source.load(3)["target"] - straight.load(3)["target"])[straight.load(3)["region"] == 1]
    assert error.mean() < 0.05  # interpolated once, else the same


def test_the_survey_is_cached_until_a_file_changes(tmp_path, monkeypatch):
    data, cache = tmp_path / "data", str(tmp_path / "cache")
    save_pair(data, "a")
    reads, read = [], survey.read_head
    monkeypatch.setattr(survey, "read_head", lambda *args, **options: reads.append(args[0]) or read(*args, **options))
    first = opened(data, cache=cache)
    assert len(reads) == 2
    again = opened(data, cache=cache)
    assert len(reads) == 2 and again.names == first.names and again.records[0].extra == first.records[0].extra
    np.testing.assert_array_equal(again.load(2)["source"], first.load(2)["source"])
    opened(data, cache=cache, percentiles=(1, 99))
    assert len(reads) > 4
    before = len(reads)
    save_pair(data, "a", t1=COARSE | {"side": 102.0})
    opened(data, cache=cache)
    assert len(reads) == before + 2
    for path in (tmp_path / "cache").iterdir():  # a damaged note is measured again
        path.write_text(path.read_text()[:40])
    assert opened(data, cache=cache).names
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cache folder"):
        opened(data, cache=str(tmp_path / "file"))


def test_real_pairs_are_accepted(real_data, tmp_path):
    source = opened(real_data / "mri_t1_t2", subjects="^JLF00", range_mm=(-10, 20), step_mm=15)
    assert {r.patient[:3] for r in source.records} == {"JLF"} and len(source) == 2 * 6
    assert all(float(r.extra["alignment_margin"]) > 0.8 and r.extra["best_shift"] == "0" for r in source.records)
    images = source.load(4)
    inside = images["region"] == 1
    assert np.corrcoef(images["source"][inside], images["target"][inside])[0, 1] < -0.3  # infants: T1 and T2 oppose
    assert (images["target"][~inside] == 0).all()


def test_the_unregistered_real_pair_is_refused_then_registered(real_data, tmp_path):
    root = real_data / "mri_t1_t2_native"
    with pytest.raises(DataError, match=r"does not lie on .* 1\.00\d\d as it lies and 1\.01\d\d when shifted"):
        opened(root)
    extra = opened(root, registration="rigid").records[0].extra
    assert float(extra["nmi_before"]) < 1.01 and float(extra["nmi"]) > 1.05 and float(extra["alignment_margin"]) > 0.4


def test_folders_of_dicom_series_are_pairs_too(tmp_path):
    from medjax.data.phantom.files import write_phantoms

    options = {"kind": "brain", "count": 1, "seed": 1, "shape": (48, 56, 40), "spacing": 3.4, "stripped": True}
    found = {}
    for form in ("nifti", "dicom"):
        write_phantoms(tmp_path / form, format=form, **options)
        source = mri_pairs(tmp_path / form, step_mm=30.0, fov_mm=200.0, cache="off")
        found[form] = {name: source.load(i) for i, name in enumerate(source.names)}
    assert found["nifti"].keys() == found["dicom"].keys()
    for name, images in found["nifti"].items():
        for role in ("source", "target", "region"):
            np.testing.assert_allclose(found["dicom"][name][role], images[role], atol=2e-3, err_msg=f"{name} {role}")
