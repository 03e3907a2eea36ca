"""Metrics inside a region, against numpy by hand; and means over patients before intervals."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from medjax import metrics
from medjax.metrics import tables
from medjax.metrics.markdown import table
from medjax.metrics.region import calibrated


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    target = rng.uniform(0.2, 0.8, (3, 40, 48, 1)).astype(np.float32)
    output = (target + 0.1 * rng.standard_normal(target.shape)).clip(0, 1).astype(np.float32)
    region = np.zeros_like(target)
    region[:, 8:30, 10:40] = 1
    return output, target, region


def test_what_lies_outside_does_not_count(images):
    output, target, region = images
    other = np.where(region > 0, output, 1 - output)
    for name, metric in metrics.REGION.items():
        if not name.startswith("ssim"):  # a window of SSIM reaches 5 pixels over the edge
            np.testing.assert_allclose(metric(output, target, region), metric(other, target, region), rtol=1e-5, err_msg=name)


def test_values_by_hand(images):
    output, target, region = images
    inside = region[0] > 0
    error = (output[0] - target[0])[inside].astype(np.float64)
    assert metrics.psnr_inside(output, target, region)[0] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-4)
    assert metrics.mae_inside(output, target, region)[0] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    expected = np.sqrt((error**2).sum() / (target[0][inside].astype(np.float64) ** 2).sum())
    assert metrics.nrmse_inside(output, target, region)[0] == pytest.approx(expected, rel=1e-5)
    assert metrics.nrmse(output, target)[0] == pytest.approx(
        np.linalg.norm(output[0] - target[0]) / np.linalg.norm(target[0]), rel=1e-5
    )


def test_ssim_inside_is_scikit_images_map_over_the_region(images):
    output, target, region = images
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True)
    full = structural_similarity(output[0, ..., 0].astype(np.float64), target[0, ..., 0].astype(np.float64), **options)[1]
    assert metrics.ssim_inside(output, target, region)[0] == pytest.approx(full[region[0, ..., 0] > 0].mean(), abs=1e-5)


def test_the_whole_image_as_region_is_the_plain_metric(images):
    output, target, region = images
    whole = np.ones_like(region)
    np.testing.assert_allclose(metrics.psnr_inside(output, target, whole), metrics.psnr(output, target), rtol=1e-5)
    np.testing.assert_allclose(metrics.ssim_inside(output, target, whole), metrics.ssim(output, target), rtol=1e-5)


def test_an_affine_error_of_intensity_is_taken_out(images):
    _, target, region = images
    inverted = 0.9 - 0.5 * target
    assert metrics.psnr_inside(inverted, target, region).max() < 15
    assert metrics.psnr_affine(inverted, target, region).min() > 80
    assert metrics.ssim_affine(inverted, target, region).min() > metrics.ssim_inside(inverted, target, region).max() + 0.5
    outside = region == 0
    np.testing.assert_array_equal(np.asarray(calibrated(inverted, target, region))[outside], inverted[outside])


def test_the_affine_map_is_numpys_least_squares(images):
    output, target, region = images
    inside = region[1] > 0
    slope, offset = np.polyfit(output[1][inside].astype(np.float64), target[1][inside].astype(np.float64), 1)
    found = np.asarray(calibrated(output, target, region))[1][inside]
    np.testing.assert_allclose(found, (slope * output[1][inside] + offset).clip(0, 1), atol=1e-5)


def test_corners(images):
    output, target, region = images
    for metric in metrics.REGION.values():
        assert np.isnan(np.asarray(metric(output, target, np.zeros_like(region)))).all()
    flat = np.full_like(output, 0.3)
    assert np.isfinite(np.asarray(metrics.psnr_affine(flat, target, region))).all()


def test_patients_are_averaged_before_the_interval():
    scores = {"model": {"psnr": np.array([30.0, 32.0, 40.0, np.nan])}}
    means, names = tables.per_unit(scores, ["a", "a", "b", "b"])
    assert names == ["a", "b"]
    np.testing.assert_allclose(means["model"]["psnr"], [31.0, 40.0])
    assert np.isnan(tables.per_unit({"m": {"x": np.array([np.nan])}}, ["a"])[0]["m"]["x"][0])


def test_a_summary_takes_patients_as_the_unit_where_some_have_several_images():
    from medjax.results import Evaluation

    scores = {row: {"psnr": np.array([30.0, 32.0, 40.0]) + gain} for row, gain in (("input", 0), ("nlm", 1), ("model", 3))}
    evaluation = Evaluation(["a1", "a2", "b1"], scores, columns={"patient": ["a", "a", "b"], "sex": ["F", "F", "M"]})
    summary = tables.summarise(evaluation, protocol={}, dataset="d", split="test", by="sex")
    assert (summary["n"], summary["images"], summary["unit"]) == (2, 3, "patient")
    assert summary["rows"]["model"]["psnr"]["mean"] == pytest.approx((34 + 43) / 2)
    assert summary["units"]["a"]["model"]["psnr"] == pytest.approx(34)
    assert summary["by"]["groups"]["F"]["n"] == 1
    assert "patients" in summary["protocol"]["interval"]
    text = table(summary)
    assert "n = 2 patients, 3 images" in text and "| a | model | 34.00 |" in text
