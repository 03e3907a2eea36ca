"""Figures that show what they are given: values, ranges, choices; nothing cut off."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from medjax import figures
from medjax.figures import pictures, scores, training


def rows(steps=50):
    out = []
    for step in range(1, steps + 1):
        out.append({"step": step, "split": "train", "g_gan": 1.0, "g_reconstruction": 20 / step, "d_loss": 0.7})
        out[-1] |= {"d_real": 0.6, "d_fake": 0.5, "gamma/encoder_32": step / 100, "time": {"images_per_second": 3.0}}
        if step % 10 == 0:
            out.append({"step": step, "split": "validation", "g_gan": 1.2, "psnr": 30 + step / 10, "ssim": 0.8})
    return out


def chest(seed=0, side=64):
    y, x = np.mgrid[:side, :side] / side
    noise = np.random.default_rng(seed).normal(0, 0.02, (side, side))
    return np.clip(0.5 + 0.3 * np.sin(9 * x) * np.cos(7 * y) + noise, 0, 1).astype(np.float32)[..., None]


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def every_figure():
    image, noisy = chest(), np.clip(chest() + 0.05, 0, 1)
    table = {
        row: {"mean": m, "ci95": [m - 0.2, m + 0.2]}
        for row, m in zip(("input", "nlm", "model"), (31, 34, 35), strict=True)
    }
    trio = {"input": noisy, "model": chest(1), "reference": image}
    share = np.arange(10) / 10
    yield "curves", figures.curves(rows(), figures.training_panels(rows()))
    yield "long curves", figures.curves(rows(200), figures.training_panels(rows(200)))
    yield "quality", figures.quality_curves(rows(), references={"non-local means": {"psnr": 33.0}})
    yield "gamma", figures.gamma_paths(rows())
    yield "paths", figures.paths({"a": ([1, 2], [3, 4])}, ylabel="PSNR (dB)", xlabel="epoch")
    yield "comparison", figures.comparison({"input": noisy, "model": chest(1)}, image, title="00000001_000.png")
    yield "wide comparison", figures.comparison({"input": noisy[:40]}, image[:40])
    yield "cases", figures.cases({"best": trio, "worst": trio})
    yield "maps", figures.maps(image, {"deviation": chest(2)[::4, ::4]}, unit="share of full range")
    yield "histograms", figures.score_histograms({"input": [30, 31, 32], "model": [33, 34, 35.5]}, "psnr")
    yield "difference", figures.difference_histogram([0.5, -0.1, 1], "psnr", label="a minus b", interval=(0.1, 0.9))
    yield "intervals", figures.intervals(table, "psnr")
    yield (
        "sparsification",
        figures.sparsification_curve({"fraction": share, "curve": 1 - share / 2, "oracle": 1 - share}),
    )


FIGURES = dict(every_figure())


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_every_axis_is_named(name):
    figure = FIGURES[name]
    image = pixels(figure)
    assert image.shape[1] <= figures.style.WIDTH * 150 + 1
    border = np.concatenate([image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3), image[:, :2].reshape(-1, 3)])
    border = np.concatenate([border, image[:, -2:].reshape(-1, 3)])
    assert (border > 200).all(), "something reaches the edge of the picture"
    for axes in figure.axes:
        if axes.get_visible() and axes.lines and axes.axison:
            assert axes.get_xlabel() and (axes.get_ylabel() or axes.get_title() or len(axes.get_yticklabels()))


def test_the_callers_own_style_is_left_alone():
    before = dict(matplotlib.rcParams)
    figures.png(figures.gamma_paths(rows()))
    assert dict(matplotlib.rcParams) == before


def test_panels_follow_what_was_logged():
    assert list(figures.training_panels(rows())) == [
        "Generator: adversarial loss",
        "Generator: reconstruction loss, as weighted",
        "Discriminator: loss",
        "Discriminator: share judged rightly",
    ]
    assert figures.training_panels([{"step": 1, "split": "train", "g_loss": 2.0}]) == {"Loss": {"g_loss": ""}}
    assert figures.training_panels([]) == {}
    assert figures.gamma_paths([{"step": 1, "split": "train", "g_loss": 2.0}]) is None


def test_series_leave_out_what_is_not_a_number():
    data = [{"step": s, "split": "train", "a": v} for s, v in ((1, 2.0), (2, float("nan")), (3, 4.0))]
    steps, values = figures.series(data, "a", "train")
    assert steps.tolist() == [1, 3] and values.tolist() == [2.0, 4.0]


def test_smoothing_keeps_a_constant_and_a_slope():
    np.testing.assert_allclose(training.smoothed(np.full(50, 3.0), 7), 3)
    np.testing.assert_allclose(training.smoothed(np.arange(50.0), 7)[5:-5], np.arange(50)[5:-5])


def test_grey_is_shown_on_a_fixed_range_and_errors_on_one_scale():
    figure = figures.comparison({"input": chest() * 0.5, "model": chest(1)}, chest())
    shown = [image for axes in figure.axes for image in axes.images]
    grey = [image for image in shown if image.get_cmap().name == "gray"]
    errors = [image for image in shown if image.get_cmap().name == pictures.ERROR_MAP]
    assert len(grey) == 6 and all(image.get_clim() == (0, 1) for image in grey)
    assert len(errors) == 2 and len({image.get_clim() for image in errors}) == 1
    np.testing.assert_allclose(errors[0].get_array(), 50 * chest()[..., 0], atol=1e-4)


def test_decibels_are_those_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    a, b = chest(0), chest(1)
    assert pictures.decibels(b, a) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-5)
    assert pictures.decibels(a, a) == np.inf


def test_the_zoom_goes_to_the_detail_and_not_to_a_marker():
    image = np.full((128, 128), 0.4, np.float32)
    image[60:100, 60:100] += np.random.default_rng(0).normal(0, 0.05, (40, 40))
    image[20:26, 20:26] = 1  # a burnt-in letter
    top, left, side = figures.zoom_box(image)
    assert side == 32 and 58 <= top <= 70 and 58 <= left <= 70
    assert figures.zoom_box(np.zeros((9, 9)))[2] == 8


def test_error_scales_end_at_a_plain_number():
    assert pictures.error_top([np.full(100, 0.04)]) == 0.05
    assert pictures.error_top([np.full(100, 0.9)]) == 1.0


def test_a_far_row_does_not_flatten_the_others():
    low, high = scores._near([31, 33, 33.5, 34, 35, 19], [(m - 0.2, m + 0.2) for m in (31, 33, 33.5, 34, 35, 19)])
    assert 30 < low < 30.8 and 35.2 < high < 36.5
    figure = figures.intervals({"a": {"mean": 1.0, "ci95": None}, "b": {"mean": None}}, "ssim")
    assert len(figure.axes[0].get_yticks()) == 1


def test_zero_is_an_edge_of_the_bars_of_differences():
    figure = figures.difference_histogram(np.random.default_rng(0).normal(0.1, 1, 50), "psnr", label="a minus b")
    edges = {round(float(patch.get_x()), 9) for patch in figure.axes[0].patches}
    assert 0.0 in edges
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == 50
