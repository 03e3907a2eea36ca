"""Any folder of volumes is a source of slices; what cannot be one is named."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from heads import grid, places, save

from medjax.data import pipeline, sources
from medjax.data.augment import resize
from medjax.data.degrade import Degradation
from medjax.data.recent import Recent
from medjax.data.volumes import volumes
from medjax.formats.volume import plain, write_volume
from medjax.types import ConfigError, DataError


def chest(points):
    """HU: air, a body of water, a bone of +700, and padding outside the scanner's field of view."""
    radius = np.hypot(points[..., 0], points[..., 1])
    hu = np.where(radius < 30, 0.0, -1000.0) + 700 * (np.hypot(points[..., 0] - 12, points[..., 1]) < 5)
    return np.where(radius > 44, -3024.0, hu)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    root = tmp_path_factory.mktemp("scan")
    shape, affine = grid(2.0, 96.0, "LPS", (0, 0, 50))
    (root / "case").mkdir()
    write_volume(root / "case" / "one.nii.gz", plain(chest(places(shape, affine)), affine, dtype="int16"))
    return root


def test_slices_carry_hu_through_the_window(scan):
    source = volumes(scan, window=(-1000, 400))
    assert source.kind == "volumes" and not source.paired and len(source) == 48
    record = source.records[10]
    assert record.name == "case/one_axial_0010" and record.patient == "case/one"
    assert (record.extra["low"], record.extra["high"], record.extra["plane"]) == ("-1000", "400", "axial")
    assert float(record.extra["ras_mm"]) == pytest.approx(50 - 47 + 20)
    assert float(record.extra["padding"]) > 0.1 and any("padding" in note for note in source.notes)
    image = source.load(10)["target"]
    assert image.shape == (48, 48, 1)
    np.testing.assert_allclose(np.unique(image), [0, 1000 / 1400, 1], atol=1e-6)
    assert image[24, 18, 0] == 1 and image[24, 30, 0] < 1  # the bone, on the patient's right, is on the left
    soft = volumes(scan, window=(-200, 300)).load(10)["target"]
    np.testing.assert_allclose(np.unique(soft), [0, 0.4, 1], atol=1e-6)


def test_planes_ranges_and_degradation(scan):
    source = volumes(scan, plane="coronal", range_mm=(-20, 20), step_mm=10, fov_mm=64)
    assert [float(r.extra["position_mm"]) for r in source.records] == pytest.approx([-20, -10, 0, 10, 20], abs=1.01)
    assert source.load(2)["target"].shape == (32, 32, 1)
    empty = volumes(scan, plane="coronal")
    assert len(empty) < 48  # slices of air alone are left out
    options = {"batch_size": 2, "image_size": 32, "crop_size": 24, "degradation": Degradation()}
    batch = next(pipeline.train_batches(source, range(5), **options)(0))
    assert set(batch) == {"source", "target", "index"} and batch["source"].shape == (2, 24, 24, 1)


def test_mr_needs_percentiles(tmp_path):
    save(tmp_path / "p1_a.nii.gz", "T1")
    save(tmp_path / "p1_b.nii", "T2", spacing=3.0)
    with pytest.raises(DataError, match=r"2 volumes cannot be used: .*p1_a\.nii\.gz has hardly a value far below 0.*percentiles"):
        volumes(tmp_path)
    source = volumes(tmp_path, window="percentiles", patient_pattern=r"^(p\d)", step_mm=9)
    assert {r.patient for r in source.records} == {"p1"} and not source.notes
    highest = max(source.load(i)["target"].max() for i in range(len(source)))
    assert highest == 1 and len({r.extra["high"] for r in source.records}) == 2


def test_a_bad_volume_is_named_or_skipped(scan, tmp_path):
    whole = (scan / "case" / "one.nii.gz").read_bytes()
    (tmp_path / "good.nii.gz").write_bytes(whole)
    (tmp_path / "cut.nii.gz").write_bytes(whole[:3000])
    with pytest.raises(DataError, match=r"cut\.nii\.gz"):
        volumes(tmp_path)
    source = volumes(tmp_path, bad="skip")
    assert {r.patient for r in source.records} == {"good"} and "cut.nii.gz" in source.notes[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no volume"):
        volumes(tmp_path / "empty")
    with pytest.raises(DataError, match="no slice"):
        volumes(scan, range_mm=(400, 500))
    for wrong in ({"window": (5, 1)}, {"window": "lung"}, {"plane": "flat"}, {"bad": "perhaps"}):
        with pytest.raises(ConfigError):
            volumes(scan, **wrong)


def test_recent_keeps_the_last_used_within_its_bytes():
    reads = []

    def read(key):
        reads.append(key)
        return {"x": np.zeros(100, np.uint8)}

    recent = Recent(read, max_bytes=250)
    for key in "abab":
        recent(key)
    assert reads == ["a", "b"]
    recent("c")  # a was used longest ago
    recent("b"), recent("a")
    assert reads == ["a", "b", "c", "a"] and recent.used <= 250
    with pytest.raises(ValueError, match="read-only"):
        recent("a")["x"][0] = 1
    large = Recent(read, max_bytes=10)
    assert large("z")["x"].shape == (100,) and large.used == 0
    slow = Recent(read, max_bytes=1000)
    threads = [threading.Thread(target=slow, args=("t",)) for _ in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert reads.count("t") == 1


def test_real_ct_as_dicom_and_nifti_show_the_same_anatomy(real_data):
    """Two reconstructions of one scan: equal patient coordinates are equal anatomy, 5 mm off is less alike."""
    source = volumes(real_data / "ct", window=(-1000, 400))
    nifti, dicom = {}, {}
    for i, record in enumerate(source.records):
        (nifti if "nifti" in record.name else dicom)[round(float(record.extra["ras_mm"]))] = i
    assert (len(nifti), len(dicom)) == (64, 32) and set(dicom) < set(nifti)
    small = lambda i: resize(source.load(i)["target"], 128, resampler="box").ravel()
    for z in (-349, -284, -219):
        here, there, above = (small(i) for i in (dicom[z], nifti[z], nifti[z + 5]))
        same, other = np.corrcoef(here, there)[0, 1], np.corrcoef(here, above)[0, 1]
        assert same > 0.98 and same > other + 0.005


def test_single_dicom_slices_are_images_in_hu(real_data):
    source = sources.folder(real_data / "ct" / "slices_NYSBU", value_range=(-1000, 400), recursive=True)
    image = source.load(0)["target"]
    assert len(source) == 24 and image[0, 0, 0] == 0 and 0.2 < image.mean() < 0.8  # -3024 of padding is black
