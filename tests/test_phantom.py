"""Phantom radiographs: the physics against arithmetic, the anatomy's invariants, and how hard they are to restore."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means

from medjax.data.phantom import FINDINGS, physics, radiograph, sample_patient, tissues
from medjax.data.phantom.plane import deposit, ellipsoid, make_plane, samples, tubes
from medjax.data.phantom.soft import lungs, mediastinum
from medjax.data.phantom.texture import fractal
from medjax.types import ConfigError

# 20 of the NIH images at 256 pixels, degraded as below: PSNR (dB) and SSIM of the input and of non-local means.
REAL_INPUT, REAL_NLM = (31.83, 0.779), (34.18, 0.899)


@pytest.fixture(scope="module")
def pair():
    """The same patients at a normal and at a low dose, by finding."""
    return {f: [radiograph(3, 11, size=128, dose=d, finding=f) for d in (1.0, 0.02)] for f in FINDINGS}


def test_a_slab_attenuates_as_beer_and_lambert_say():
    slab = {"water": np.full((2, 2), 10.0), "bone": np.full((2, 2), 0.5)}
    expected = np.exp(-(0.2059 * 10 + 0.3148 * 1.92 * 0.5))  # NIST, 60 keV
    np.testing.assert_allclose(physics.transmission(slab, 60.0), expected, rtol=1e-6)
    both = physics.transmission({"water": slab["water"]}, 60.0) * physics.transmission({"bone": slab["bone"]}, 60.0)
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    assert physics.attenuation("bone", 70.0) < physics.attenuation("bone", 60.0)
    for tissue, energy in (("cheese", 60.0), ("water", 10.0)):
        with pytest.raises(ConfigError):
            physics.attenuation(tissue, energy)


def test_shapes_keep_their_volume_at_any_pixel_size_and_angle():
    for size, angle in ((64, 0.0), (200, 0.3)):
        plane = make_plane(size, 20.0, (0.7, -0.4), angle)
        ball = ellipsoid(plane, (1.0, 2.0), (3.0, 2.0, 1.5), 0.4)
        np.testing.assert_allclose(ball.sum() * plane.pixel**2, 4 / 3 * np.pi * 9.0, rtol=5e-3)
        line = np.linspace([-4, -3, -2], [4, 3, 5], samples(plane, 12))[None]
        length, radius = np.linalg.norm([8, 6, 7]), np.full(line.shape[:2], 0.5)
        tube = deposit(plane, [tubes(plane, line, radius)])
        np.testing.assert_allclose(tube.sum() * plane.pixel**2, np.pi * 0.25 * length, rtol=2e-3)
        shell = deposit(plane, [tubes(plane, line, radius, cortex=0.1, core=0.2)])
        np.testing.assert_allclose(shell.sum() / tube.sum(), 1 - 0.8 * 0.64, rtol=2e-2)
    # A rod of radius 0.5 cm across the beam is 1 cm thick in its middle.
    rod = deposit(plane, [tubes(plane, np.linspace([-5, 0, 0], [5, 0, 0], 200)[None], np.full((1, 200), 0.5))])
    np.testing.assert_allclose(np.median(rod[np.hypot(plane.x / 4, plane.y / 0.05) < 1]), 1.0, rtol=0.03)


def test_quantum_noise_is_poisson_of_the_dose():
    flat, pixel = np.full((256, 256), 0.3, np.float32), 0.3  # pixels so large that the detector's blur vanishes
    for dose in (1.0, 0.1):
        noisy = physics.detect(flat, pixel, photons=1e4, dose=dose, rng=np.random.default_rng(0))
        np.testing.assert_allclose(noisy.mean(), 0.3, rtol=2e-3)
        np.testing.assert_allclose(noisy.var(), 0.3 / (1e4 * dose * pixel**2), rtol=0.03)
    np.testing.assert_array_equal(physics.detect(flat, pixel, photons=1e4), flat)


def test_scatter_is_an_option_that_veils_the_dense_parts():
    primary = np.full((128, 128), 0.2, np.float32)
    np.testing.assert_allclose(physics.add_scatter(primary, 0.3, 0.5), 0.3, rtol=1e-5)
    sharp, veiled = (radiograph(1, 4, size=96, scatter=s) for s in (0.0, 1.5))
    assert not np.array_equal(sharp.clean, veiled.clean)
    np.testing.assert_array_equal(sharp.lungs, veiled.lungs)


def test_an_image_is_a_pure_function_of_seed_and_index():
    first = radiograph(7, 2, size=96)
    radiograph(7, 3, size=64)
    again = radiograph(7, 2, size=96)
    for name in ("image", "clean", "mask", "lungs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    named = radiograph(7, 2, size=96, finding=first.finding)
    np.testing.assert_array_equal(named.image, first.image)
    for seed, index in ((7, 3), (8, 2)):
        assert np.abs(radiograph(seed, index, size=96).clean.astype(float) - first.clean).mean() > 500
    assert first.image.dtype == first.clean.dtype == np.uint16 and first.mask.dtype == first.lungs.dtype == bool
    assert np.unique(first.clean).size > 1000  # 16 bits are used


def test_findings_sexes_and_views_are_all_drawn():
    patients = [sample_patient(0, i) for i in range(200)]
    assert {p.finding for p in patients} == set(FINDINGS)
    assert {p.sex for p in patients} == {"M", "F"} and {p.view for p in patients} == {"PA", "AP"}
    assert all(18 <= p.age <= 90 for p in patients)
    # The finding changes nothing else about the patient, but for the thorax in COPD.
    assert replace(sample_patient(0, 5, "Mass"), finding="Pneumonia") == sample_patient(0, 5, "Pneumonia")


def test_the_dose_changes_noise_and_nothing_else(pair):
    for normal, low in pair.values():
        np.testing.assert_array_equal(normal.clean, low.clean)
        np.testing.assert_array_equal(normal.lungs, low.lungs)
        np.testing.assert_array_equal(normal.mask, low.mask)
        flat = normal.lungs & (
            np.abs(normal.clean.astype(float) - gaussian_filter(normal.clean.astype(float), 2)) < 500
        )
        noise = [np.var(p.image[flat].astype(float) - p.clean[flat]) for p in (normal, low)]
        np.testing.assert_allclose(noise[1] / noise[0], 1 / 0.02, rtol=0.2)


def test_masks_lie_in_the_lungs(pair):
    for finding, (phantom, _) in pair.items():
        area = phantom.lungs.mean()
        assert 0.12 < area < 0.5
        assert not (phantom.mask & ~phantom.lungs).any()
        share = phantom.mask.sum() / phantom.lungs.sum()
        low, high = {"No Finding": (0, 0), "COPD": (1, 1), "Mass": (0.005, 0.2), "Pneumonia": (0.02, 0.5)}[finding]
        assert low <= share <= high, (finding, share)


def test_masks_are_never_empty():
    for index in range(6):
        for finding in ("Mass", "Pneumonia"):
            assert radiograph(21, index, size=64, finding=finding).mask.sum() > 6, (index, finding)


def test_findings_act_as_disease_does(pair):
    plain = pair["No Finding"][0]
    for finding in ("Mass", "Pneumonia"):
        phantom = pair[finding][0]
        gain = phantom.clean.astype(float) - plain.clean
        assert gain[phantom.mask].mean() > 0.02 * 65535
        assert abs(np.median(gain[phantom.lungs & ~phantom.mask])) < 0.02 * 65535
    plane = make_plane(128, 40.0, (0.0, 0.0), 0.0)
    well, ill = (sample_patient(3, 11, f) for f in ("No Finding", "COPD"))
    assert lungs(plane, ill)[1].sum() > 1.08 * lungs(plane, well)[1].sum()  # hyperinflation
    assert ill.lung_density < 0.8 * well.lung_density and ill.dome[0] < 0.5 * well.dome[0]
    row = np.abs(plane.y - 5) < 0.4
    assert (mediastinum(plane, ill)[row] > 1).sum() < (mediastinum(plane, well)[row] > 1).sum()  # a narrow heart
    mass = [tissues(plane, p)[0]["lung"].sum() * p.lung_density for p in (well, sample_patient(3, 11, "Mass"))]
    assert mass[1] < mass[0]


def test_bone_is_bright_and_air_dark():
    for index in (0, 9):
        phantom = radiograph(5, index, size=128, finding="No Finding")
        value = phantom.clean / 65535
        lung, middle = value[phantom.lungs].mean(), np.median(value[64:110, 56:72])
        assert lung + 0.15 < middle <= 1 and 0.15 < lung < 0.7


def test_the_same_patient_at_every_size():
    fine = radiograph(2, 6, size=512)
    for size in (256, 128, 64):
        step = 512 // size
        coarse = radiograph(2, 6, size=size)
        binned = fine.clean.reshape(size, step, size, step).mean((1, 3))
        assert np.abs(coarse.clean - binned).mean() < 0.015 * 65535, size
        assert np.corrcoef(coarse.clean.ravel(), binned.ravel())[0, 1] > 0.995, size
        share = fine.lungs.reshape(size, step, size, step).mean((1, 3)) > 0.5
        assert (share & coarse.lungs).sum() > 0.94 * (share | coarse.lungs).sum(), size
        assert (coarse.finding, coarse.sex, coarse.age, coarse.view) == (fine.finding, fine.sex, fine.age, fine.view)


def test_texture_has_unit_variance():
    plane = make_plane(128, 40.0, (0.0, 0.0), 0.0)
    values = [fractal(plane, (1.0, 0.5), 0.8, 0, i, "test").std() for i in range(4)]
    np.testing.assert_allclose(np.mean(values), 1, rtol=0.1)


def test_options_out_of_range_are_refused():
    for options in ({"finding": "Cough"}, {"size": 8}, {"dose": 0.0}, {"dose": float("nan")}, {"scatter": -1.0}):
        with pytest.raises(ConfigError):
            radiograph(0, 0, **options)


def test_as_hard_to_restore_as_real_films():
    scores = []
    for index in range(8):
        clean = radiograph(0, index).image / 65535
        source = _degrade(clean, np.random.default_rng(index))
        smooth = denoise_nl_means(source.astype(np.float32), patch_size=5, patch_distance=6, h=0.03, fast_mode=True)
        scores.append([_score(clean, source), _score(clean, smooth.astype(float))])
    given, restored = np.mean(scores, axis=0)
    assert abs(given[0] - REAL_INPUT[0]) < 1.2 and abs(given[1] - REAL_INPUT[1]) < 0.05
    assert abs(restored[0] - REAL_NLM[0]) < 1.5 and abs(restored[1] - REAL_NLM[1]) < 0.05
    assert abs((restored - given)[0] - (REAL_NLM[0] - REAL_INPUT[0])) < 1.0


def _degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of 15 / 255, binomial blur, JPEG of quality 50."""
    noisy = np.clip(image + rng.normal(0, 15 / 255, image.shape), 0, 1)
    for axis in (0, 1):
        noisy = convolve1d(noisy, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    stream = io.BytesIO()
    Image.fromarray(np.round(noisy * 255).astype(np.uint8)).save(stream, "JPEG", quality=50)
    return np.asarray(Image.open(stream), np.float64) / 255


def _score(truth: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return peak_signal_noise_ratio(truth, image, data_range=1.0), structural_similarity(truth, image, **options)
