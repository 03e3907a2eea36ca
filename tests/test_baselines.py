"""The classical rows: contracts, what each is for, the tuning, and their figures on real radiographs."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medjax import baselines
from medjax.types import ConfigError, DataError


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(float) - b) ** 2))


@pytest.fixture(scope="module")
def pair():
    """A piecewise smooth image and a noisy copy, 64 x 48, in [0, 1]."""
    rows, columns = np.indices((64, 48))
    target = 0.3 + 0.2 * np.sin(columns / 9) + 0.3 * (np.hypot(rows - 30, columns - 24) < 15)
    noisy = np.clip(target + np.random.default_rng(0).normal(0, 0.06, target.shape), 0, 1)
    return noisy.astype(np.float32), target.astype(np.float32)


@pytest.mark.parametrize("name", list(baselines.ENHANCERS))
def test_enhancers_keep_shape_range_and_leave_their_input_alone(name, pair):
    source, _ = pair
    before, enhance = source.copy(), baselines.ENHANCERS[name]
    flat = enhance(source)
    assert flat.shape == source.shape and flat.dtype == np.float32
    assert flat.min() >= 0 and flat.max() <= 1
    np.testing.assert_array_equal(source, before)
    both = enhance(np.stack([source, source[::-1]], -1))
    np.testing.assert_array_equal(both[..., 0], flat)
    assert enhance(source[..., None]).shape == (64, 48, 1)
    for level in (0.0, 1.0):  # an empty or a saturated film comes back finite
        assert np.isfinite(enhance(np.full((32, 32), level, np.float32))).all()
    with pytest.raises(DataError, match="one image"):
        enhance(np.zeros((1, 8, 8, 1), np.float32))


@pytest.mark.parametrize("name", ["gaussian", "median", "bilateral", "nlm", "tv", "wavelet"])
def test_a_tuned_denoiser_gains_and_its_choice_is_the_best_of_the_grid(name, pair):
    source, target = pair
    params = baselines.tune(name, [source], [target])
    grid = baselines.GRIDS[name]
    assert all(params[k] in grid[k] for k in grid) and set(params) == set(grid)
    enhance = baselines.bind({name: params})[name]
    best = _psnr(enhance(source), target)
    assert best > _psnr(source, target) + 2
    for key, values in grid.items():
        assert all(_psnr(baselines.ENHANCERS[name](source, **{**params, key: v}), target) <= best for v in values)


def test_gaussian_and_median_by_hand():
    spike = np.zeros((9, 9), np.float32)
    spike[4, 4] = 1
    assert baselines.median(spike, size=3).max() == 0
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    assert baselines.gaussian(spike, sigma=1.0)[4, 4] == pytest.approx(1 / weights.sum() ** 2, rel=1e-5)


def test_maps_of_the_whole_image_undo_what_they_can():
    rows = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(64, 0)
    dark = rows**2
    assert np.abs(baselines.gamma(dark, exponent=0.5) - rows).max() < 1e-6
    assert baselines.tune("gamma", [dark], [rows])["exponent"] == 0.5
    flat = baselines.equalise(dark)  # every level as often as any other: the ramp comes back
    assert np.abs(flat - rows).max() < 0.07 and (np.diff(flat[0]) >= 0).all()
    assert set(baselines.tune("equalise", [dark], [rows])) == {"bins"}


def test_tune_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match="unknown baseline 'bm3d'.*nlm"):
        baselines.tune("bm3d", [], [])
    with pytest.raises(DataError, match="no validation images"):
        baselines.tune("nlm", [], [])
    with pytest.raises(ConfigError, match="unknown resampler 'cubic'.*bicubic"):
        baselines.upscale(np.zeros((4, 4)), size=(8, 8), resampler="cubic")


def test_upscalers_by_hand():
    ramp = np.linspace(0.2, 0.8, 16, dtype=np.float32)[None].repeat(12, 0)
    for name, upscale in baselines.upscalers((24, 32)).items():
        result = upscale(ramp[..., None])
        assert result.shape == (24, 32, 1) and result.dtype == np.float32
        if name == "nearest":
            np.testing.assert_array_equal(result[..., 0], ramp.repeat(2, 0).repeat(2, 1))
        else:  # each of them reproduces a straight line inside, at the centres of the new pixels
            centres = (np.arange(32) + 0.5) / 2 - 0.5
            np.testing.assert_allclose(result[12, 6:-6, 0], (0.2 + 0.04 * centres)[6:-6], atol=2e-3)
    overshoot = baselines.upscale((ramp > 0.5).astype(np.float32), size=(48, 64), resampler="lanczos")
    assert overshoot.min() == 0 and overshoot.max() == 1


def test_sixteen_bit_detail_survives_upscaling():
    step = np.full((8, 8), 0.5, np.float32)
    step[:, 4:] += 3 / 65535
    assert np.ptp(baselines.upscale(step, size=(16, 16), resampler="bilinear")) == pytest.approx(3 / 65535, rel=0.05)


def test_figures_on_real_radiographs(real_data):
    """Noise 15/255, blur [1 2 1]/4, JPEG 50 at 256: input about 31.7 dB, non-local means 2 dB and more above it."""
    sources, targets = [], []
    for i, file in enumerate(sorted((real_data / "cxr_nih" / "images_512").glob("*.png"))[::60]):
        image = Image.open(file).convert("F").resize((256, 256), Image.Resampling.LANCZOS)
        target = np.clip(np.asarray(image) / 255, 0, 1)
        source = np.clip(target + np.random.default_rng(i).normal(0, 15 / 255, target.shape), 0, 1)
        source = ndimage.convolve1d(ndimage.convolve1d(source, np.array([1, 2, 1]) / 4, 0), np.array([1, 2, 1]) / 4, 1)
        file = io.BytesIO()
        Image.fromarray(np.round(source * 255).astype(np.uint8)).save(file, "JPEG", quality=50)
        sources.append(np.asarray(Image.open(file), np.float32) / 255)
        targets.append(target)
    psnr = {
        name: np.mean([_psnr(enhance(a), b) for a, b in zip(sources, targets, strict=True)])
        for name, enhance in {"input": np.asarray, **baselines.ENHANCERS}.items()
    }
    assert psnr["input"] == pytest.approx(31.7, abs=1)
    assert psnr["nlm"] > psnr["input"] + 1.8 and psnr["tv"] > psnr["input"] + 1.5
    assert psnr["clahe"] < psnr["input"]  # it changes grey levels: a caution, not an enhancer by this measure


def test_importing_baselines_brings_no_jax():
    code = "import sys, medjax.baselines; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
