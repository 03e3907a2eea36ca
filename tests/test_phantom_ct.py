"""Thorax phantoms in HU: organs within their ranges, anatomy, nodules, noise, files."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medjax.data.phantom.ct import LOWEST, NAMES, ORGANS, ct_volume, sample_nodules
from medjax.data.phantom.files import write_phantoms
from medjax.data.phantom.patient import sample_patient
from medjax.data.phantom.space import make_grid
from medjax.data.phantom.splat import deposit, pieces
from medjax.formats.volume import read_volume, to_ras
from medjax.types import ConfigError

# Where a reader of CT expects the middle of each organ, in HU, without contrast medium.
RANGES = {
    "air": (-1000, -950), "lung": (-930, -650), "fat": (-120, -80), "muscle": (35, 70), "heart": (30, 55), "blood": (30, 55),
    "liver": (45, 70), "spleen": (35, 60), "marrow": (100, 350), "cord": (15, 60), "stomach": (0, 40),
}  # fmt: skip


@pytest.fixture(scope="module")
def chest():
    return ct_volume(2, 3, nodules=4)


def core(phantom, name):
    """Voxels of a tissue all of whose neighbours in plane are of it too."""
    mask = phantom.labels == NAMES.index(name)
    for axis in (0, 1):
        mask = mask & np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask


def test_organs_have_their_hounsfield_units(chest):
    for name, (low, high) in RANGES.items():
        inside = core(chest, name)
        assert inside.sum() > 20, name
        assert low <= np.median(chest.clean[inside]) <= high, (name, np.median(chest.clean[inside]))
    bone = chest.clean[chest.labels == NAMES.index("cortex")]
    assert 300 < np.median(bone) < 1100 and chest.hu.max() > 500
    assert chest.hu.dtype == np.int16 and chest.hu.min() >= LOWEST


def test_anatomy_lies_where_it_belongs(chest):
    x, y, z = (np.broadcast_to(a, chest.labels.shape) for a in make_grid((168, 132, 108), (2.5, 2.5, 3.0)).points)

    def centre(name):
        mask = chest.labels == NAMES.index(name)
        return [float(a[mask].mean()) for a in (x, y, z)]

    assert centre("heart")[0] < -5 and centre("liver")[0] > 30  # RAS: the heart to the left, the liver to the right
    assert centre("spleen")[0] < -50 and centre("cord")[1] < -40 < centre("heart")[1]
    assert centre("liver")[2] < centre("heart")[2] < centre("lung")[2] + 40
    assert centre("table")[1] < centre("cord")[1]
    lung = chest.labels == NAMES.index("lung")
    litres = lung.sum() * 2.5 * 2.5 * 3 / 1e6
    assert 2 < litres < 8
    assert lung[x > 0].sum() > 0.3 * lung.sum() and lung[x < 0].sum() > 0.3 * lung.sum()
    # Gravity: a supine lung is denser at the back.
    back, front = lung & (y < -40), lung & (y > 30)
    assert np.median(chest.clean[back]) > np.median(chest.clean[front]) + 10
    bone = np.isin(chest.labels, [NAMES.index("cortex"), NAMES.index("marrow")])
    assert not bone[y < -150].any()


def test_nodules_lie_in_the_lungs(chest):
    plain = ct_volume(2, 3, nodules=0)
    assert plain.nodule_list == () and not plain.nodules.any() and len(chest.nodule_list) == 4
    lung = plain.labels == NAMES.index("lung")
    for nodule in chest.nodule_list:
        inside = chest.nodules == nodule.number
        volume = inside.sum() * 2.5 * 2.5 * 3
        assert inside.any() and 0.4 < volume / (4 / 3 * np.pi * nodule.radius**3) < 2
        assert lung[inside].mean() > 0.85  # but for vessels that run through
        change = (chest.clean - plain.clean)[inside & lung].mean()
        assert change > (100 if nodule.kind == "ground glass" else 350)
        at = np.linalg.inv(chest.affine) @ [*nodule.centre, 1]
        assert inside[tuple(np.round(at[:3]).astype(int))]
    far = chest.nodules == 0
    assert np.mean(np.abs(chest.clean - plain.clean)[far] > 1) < 0.01
    patients = [sample_patient(0, i, "No Finding") for i in range(4)]
    assert len({len(sample_nodules(p)) for p in patients}) > 1
    assert {n.kind for i in range(6) for n in sample_nodules(sample_patient(1, i), count=4)} == {"nodule", "ground glass"}


def test_a_volume_is_a_pure_function_of_seed_and_index():
    options = {"shape": (80, 64, 48), "spacing": (5.0, 5.0, 6.0)}
    first, again = ct_volume(5, 0, **options), ct_volume(5, 0, **options)
    np.testing.assert_array_equal(first.hu, again.hu)
    np.testing.assert_array_equal(first.nodules, again.nodules)
    for seed, index in ((5, 1), (6, 0)):
        assert (ct_volume(seed, index, **options).labels != first.labels).mean() > 0.05
    louder = ct_volume(5, 0, **options, sigma=60.0)
    np.testing.assert_array_equal(louder.clean, first.clean)
    assert not np.array_equal(louder.hu, first.hu)


def test_noise_has_its_sigma_and_is_correlated_in_plane(chest):
    noise = chest.hu - chest.clean
    inside = chest.clean > -900  # air is clipped at -1024
    np.testing.assert_allclose(noise[inside].std(), 18, rtol=0.03)
    rows = [np.corrcoef(np.take(noise, range(0, 100), a)[40:90].ravel(), np.take(noise, range(1, 101), a)[40:90].ravel())[0, 1]
            for a in (1, 2)]  # fmt: skip
    assert rows[0] > 0.2 and abs(rows[1]) < 0.1


def test_contrast_medium_is_in_the_blood(chest):
    enhanced = ct_volume(2, 3, nodules=4, contrast=True)
    blood, muscle = core(chest, "blood"), core(chest, "muscle")
    assert np.median(enhanced.clean[blood]) > 200
    np.testing.assert_allclose(enhanced.clean[muscle], chest.clean[muscle], atol=60)
    np.testing.assert_array_equal(enhanced.labels, chest.labels)


def test_rods_keep_their_volume_however_thin():
    line = np.linspace([-30, -20, -10], [30, 25, 20], 200)[None]
    length = np.linalg.norm(line[0, -1] - line[0, 0])
    grid = make_grid((64, 64, 64), 2.0)
    for radius in (0.1, 0.8, 6.0):
        share = deposit(grid, *pieces(line, np.full(line.shape[:2], radius), 1.0))
        np.testing.assert_allclose(share.sum() * 8, np.pi * radius**2 * length, rtol=2e-3)
    core_ = deposit(grid, *pieces(line, np.full(line.shape[:2], 6.0), 1.0, inset=2.0))
    np.testing.assert_allclose(core_.sum() * 8, np.pi * 16 * length, rtol=2e-3)
    assert np.median(deposit(grid, *pieces(line, np.full(line.shape[:2], 6.0), 1.0))[core_ > 0.95]) == pytest.approx(1, abs=0.05)


def test_files_read_back_equal(tmp_path):
    options = {"shape": (64, 52, 24), "spacing": (6.0, 6.0, 12.0)}
    phantom = ct_volume(0, 0, **options)
    nifti = write_phantoms(tmp_path / "nifti", kind="ct", count=1, **options)
    there = nibabel.load(nifti[0])
    np.testing.assert_allclose(there.affine, phantom.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(there.dataobj), phantom.hu)
    assert there.get_data_dtype() == np.int16
    labels = read_volume(tmp_path / "nifti" / "truth" / "PHANTOM000000-labels.nii.gz")
    np.testing.assert_array_equal(labels.values, phantom.labels)
    dicom = write_phantoms(tmp_path / "dicom", kind="ct", count=1, format="dicom", **options)
    series = to_ras(read_volume(dicom[0]))
    np.testing.assert_allclose(series.affine, phantom.affine, atol=1e-3)
    np.testing.assert_allclose(series.values, phantom.hu, atol=0.51)


def test_options_out_of_range_are_refused():
    for options in ({"shape": (64, 64)}, {"spacing": 50.0}, {"sigma": -1.0}, {"blur": -0.1}, {"nodules": -2}):
        with pytest.raises(ConfigError):
            ct_volume(0, 0, **options)
    with pytest.raises(ConfigError):
        ct_volume(0, -1)
    assert set(ORGANS) == set(NAMES)
