"""Brain phantoms as slices and as files: the same values, geometry and truth as the volumes they come from."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pydicom
import pytest

from medjax.data.intensities import percentile_window, to_unit_range
from medjax.data.mri import mri_pairs
from medjax.data.phantom import mri_source
from medjax.data.phantom.files import write_phantoms
from medjax.data.phantom.mri import brain_pair
from medjax.data.phantom.mri_source import lesion_numbers, lesions_of, phantom_mri
from medjax.formats.volume import read_volume, to_ras
from medjax.types import ConfigError

SMALL = {"shape": (64, 72, 60), "spacing": 2.8}


def test_slices_are_pairs_with_region_and_lesions():
    source = phantom_mri(2, size=48, step_mm=20.0, range_mm=(-40, 40), context=1, lesions=6, seed=1)
    assert source.paired and source.kind == "phantom_mri" and len({r.patient for r in source.records}) == 2
    assert len(source) == 10 and len(set(source.names)) == 10
    positions = [float(r.extra["position_mm"]) for r in source.records[:5]]
    np.testing.assert_allclose(positions, [-40, -20, 0, 20, 40], atol=208 / 48 / 2 + 1e-6)
    middle = source.load(2)
    assert middle["source"].shape == (48, 48, 3) and middle["target"].shape == middle["region"].shape == (48, 48, 1)
    for image in middle.values():
        assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    assert set(np.unique(middle["region"])) == {0, 1} and 0.2 < middle["region"].mean() < 0.6
    again = phantom_mri(2, size=48, step_mm=20.0, range_mm=(-40, 40), context=1, lesions=6, seed=1)
    np.testing.assert_array_equal(again.load(2)["target"], middle["target"])
    assert len(lesions_of(source.records[0])) == 6
    seen = set()
    for record in phantom_mri(1, size=48, lesions=6, seed=1).records:
        numbers = lesion_numbers(record)
        assert numbers.shape == (48, 48)
        seen |= set(np.unique(numbers)) - {0}
    assert len(seen) >= 4  # the smallest may fall between voxels as wide as these


def test_slices_are_those_of_the_volume():
    for plane, axis in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        source = phantom_mri(1, size=40, plane=plane, step_mm=24.0, snr=None, direction=("T2", "T1"))
        spacing = 208 / 40
        shape = [35 if a == axis else 40 for a in range(3)]
        whole = brain_pair(0, 0, shape=shape, spacing=spacing, snr=None, contrasts=("T2", "T1"))
        k = int(source.records[1].extra["slice"])
        unit = to_unit_range(whole.t2w, *percentile_window(whole.t2w, whole.brain, (0.0, 99.5)))
        expected = np.take(unit, k, axis=axis).T[::-1, ::-1]  # right on the left, front or top up
        np.testing.assert_array_equal(source.load(1)["source"][..., 0], expected)


def test_files_read_back_as_the_pair_they_are(tmp_path):
    options = dict(shape=(56, 64, 52), spacing=(3.2, 3.2, 3.4))
    paths = write_phantoms(tmp_path, kind="brain", count=2, seed=6, **options)
    assert [p.relative_to(tmp_path).as_posix() for p in paths[:2]] == ["T1/PHANTOM006000-T1.nii.gz", "T2/PHANTOM006000-T2.nii.gz"]
    phantom = brain_pair(6, 0, **options)
    for path, image in zip(paths[:2], (phantom.t1w, phantom.t2w), strict=True):
        there = nibabel.load(path)
        np.testing.assert_allclose(there.affine, phantom.affine, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(there.dataobj, np.float32), image)
    lesions = read_volume(tmp_path / "truth" / "PHANTOM006000-lesions.nii.gz") if phantom.lesions.any() else None
    assert lesions is not None and np.array_equal(lesions.values, phantom.lesions)
    with open(tmp_path / "lesions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "PHANTOM006000"]
    assert [int(row["voxels"]) for row in rows] == [int((phantom.lesions == x.number).sum()) for x in phantom.lesion_list]
    source = mri_pairs(tmp_path, step_mm=24.0)  # aligned, or it would be refused
    assert {r.patient for r in source.records} == {"PHANTOM006000", "PHANTOM006001"}
    assert all(r.extra["best_shift"] == "0" and r.extra["registration"] == "none" for r in source.records)


def test_dicom_reads_back_on_the_same_grid(tmp_path):
    options = dict(shape=(40, 44, 24), spacing=(4.5, 4.5, 6.0))
    paths = write_phantoms(tmp_path, kind="brain", count=1, format="dicom", **options)
    phantom = brain_pair(0, 0, **options)
    for path, image in zip(paths, (phantom.t1w, phantom.t2w), strict=True):
        there = to_ras(read_volume(path))
        np.testing.assert_allclose(there.affine, phantom.affine, atol=1e-3)
        assert np.abs(there.values - image).max() <= 0.5  # whole numbers of 12 bits, as scanners store them
    header = pydicom.dcmread(next(iter(sorted(paths[0].iterdir()))))
    assert header.Modality == "MR" and str(header.PatientID) == "PHANTOM"


def test_options_out_of_range_are_refused(tmp_path):
    bad = ({"shape": (4, 64, 64)}, {"spacing": 0.0}, {"snr": 0.0}, {"bias": 1.0}, {"field": 7.0}, {"contrasts": ("T3",)})
    for options in (*bad, {"lesions": -1}, {"veiled": 2.0}):
        with pytest.raises(ConfigError):
            brain_pair(0, 0, **{**SMALL, **options})
    with pytest.raises(ConfigError):
        brain_pair(-1, 0, **SMALL)
    for options in ({"count": 0}, {"size": 8}, {"direction": ("T1",)}, {"plane": "oblique"}, {"fov_mm": 10.0}, {"context": -1}):
        with pytest.raises(ConfigError):
            phantom_mri(**{"count": 1, "size": 40, **options})
    with pytest.raises(ConfigError):
        phantom_mri(1, size=40, range_mm=(300.0, 301.0))
    for options in ({"kind": "knee"}, {"format": "bmp"}, {"count": 0}):
        with pytest.raises(ConfigError):
            write_phantoms(tmp_path, **options)


def test_scans_are_kept_up_to_a_cap():
    assert mri_source._SCANS.max_bytes == mri_source.CACHE_BYTES
    before = mri_source._SCANS.used
    phantom_mri(1, size=24, seed=77, step_mm=40.0).load(0)
    assert before < mri_source._SCANS.used <= mri_source.CACHE_BYTES
