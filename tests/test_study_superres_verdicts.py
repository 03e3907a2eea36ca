"""What the study of paper 003 concludes: from interpolation of filtered targets, from scores, and from arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from experiments.superres import scores, speed, targets, verdicts_images, verdicts_paper
from experiments.superres.runs import Opened, Study, config_of, title
from medjax.build import data as build_data
from medjax.evaluate import Evaluation
from medjax.metrics.statistics import compare

RNG = np.random.default_rng(0)


def rough(side=64, count=3):
    """Smooth images with some fine grain."""
    y, x = np.mgrid[:side, :side] / side
    base = 0.5 + 0.3 * np.sin(9 * x) * np.cos(7 * y)
    return [(base + 0.08 * RNG.standard_normal((side, side))).clip(0, 1).astype(np.float32)[..., None] for _ in range(count)]


def test_filtering_the_target_lifts_interpolation_and_equalising_it_lowers_it():
    rows = targets.targets(rough())
    plain = rows[targets.PLAIN]["psnr"]
    assert rows["median, then Gaussian"]["psnr"] > rows["Gaussian, sigma 1"]["psnr"] > plain + 3
    assert rows[targets.EQUALISED.format(0.03)]["psnr"] < plain - 1 and rows[targets.INPUTS]["psnr"] < plain + 1
    image = rough(count=1)[0]
    small = Image.fromarray(image[..., 0]).resize((16, 16), Image.Resampling.BICUBIC)
    large = np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC)).clip(0, 1)
    by_hand = -10 * np.log10(np.mean((large - image[..., 0]) ** 2, dtype=np.float64))
    assert targets.targets([image])[targets.PLAIN]["psnr"] == pytest.approx(by_hand, abs=0.01)


def test_two_libraries_mean_two_things_by_bicubic():
    rows = targets.resamplers(rough())
    low, high = targets.spread_of(rows)
    assert 0 < high - low < 3 and len(rows) == 6
    eight = rows["Pillow down, Pillow up, 8 bits between"]["psnr"]
    assert abs(eight - rows["Pillow down, Pillow up"]["psnr"]) < 0.1
    image = rough(count=1)[0]
    np.testing.assert_allclose(targets.by_pillow(image, 64), image, atol=1e-6)
    assert targets.by_skimage(image, 16).shape == targets.by_pillow(image, 16).shape == (16, 16, 1)


def test_real_xrays_give_the_audits_directions(real_data, tmp_path):
    """Filtering targets lifts x4 bicubic by several dB, CLAHE takes as many away: 38.5 and 27.5 where plain is 33.9."""
    data = build_data.open_data(config_of(Study(tmp_path, "small", root=str(real_data)), "cxr"))
    rows = targets.targets(targets.few_images(data, 256, 4))
    plain = rows[targets.PLAIN]["psnr"]
    assert 29 < plain < 37 and rows["median, then Gaussian"]["psnr"] > plain + 3
    assert rows[targets.EQUALISED.format(0.02)]["psnr"] < plain - 3


def test_the_papers_five_figures():
    mean, deviation, similarity = targets.paper_mean()
    assert (mean, deviation, similarity) == pytest.approx((26.93, 1.35, 0.832), abs=0.005)


def results_of(gan, l1, bicubic, n=8, **more):
    """Results of X-rays of n patients with these PSNRs, SSIM a thirtieth of them."""
    spread = np.linspace(-0.05, 0.05, n)

    def row(level):
        return {"psnr": level + spread, "ssim": (level + spread) / 40, "gms": spread + 0.9, "checkerboard2": spread + 1,
                "checkerboard4": spread + more.get("grid", 1.0), "spectrum_ratio": spread + 1}  # fmt: skip

    columns = {"patient": [str(i) for i in range(n)]}
    first = Evaluation(
        [str(i) for i in range(n)], {"bicubic": row(bicubic) | more.get("bicubic_row", {}), "model": row(l1)}, columns
    )
    second = Evaluation(first.names, {"model": row(gan)}, columns)
    features = {"features": {"bicubic": {}, "model": {}}}
    return scores.Results(
        evaluations={"cxr": [first], "cxr_gan": [second]}, summaries={"cxr": [features], "cxr_gan": [features]},
        trained={"cxr": first, "cxr_gan": second},
    )  # fmt: skip


def test_verdicts_on_images_follow_from_the_scores(tmp_path):
    real, simulated = Study(tmp_path, "small"), Study(tmp_path, "small", "phantoms")
    usual, better = results_of(gan=33.0, l1=35.5, bicubic=34.8), results_of(gan=36.0, l1=35.5, bicubic=34.8)
    for judge in (verdicts_images.above_bicubic, verdicts_images.adversarial):
        assert judge(real, usual).verdict == "fails" and judge(real, better).verdict == "holds"
        assert judge(simulated, better).verdict == "untestable"
    assert "-2.50" in verdicts_images.adversarial(real, usual).ours and "too narrow" not in judge(real, usual).how
    assert "too narrow: chest X-rays x4 (3)" in judge(real, results_of(gan=36.0, l1=35.5, bicubic=34.8, n=3)).how
    assert verdicts_images.artefacts(real, usual).verdict == "holds"
    grid = results_of(gan=33.0, l1=35.5, bicubic=34.8, grid=1.5, bicubic_row={"checkerboard4": np.ones(8)})
    assert verdicts_images.artefacts(real, grid).verdict == "fails"
    known = lambda values: {"fid/inception_v3.pool3": {"value": values}}  # noqa: E731
    assert verdicts_images.distance(real, usual).verdict == "untestable"
    for gan, told in ((40.0, "holds"), (60.0, "fails")):
        usual.summaries["cxr"][0]["features"] = {"bicubic": known(50.0), "model": known(55.0)}
        usual.summaries["cxr_gan"] = [{"features": {"model": known(gan)}}]
        assert verdicts_images.distance(real, usual).verdict == told


def test_verdicts_on_arithmetic(tmp_path):
    real = Study(tmp_path, "small")
    row = lambda psnr: {"psnr": psnr, "n": 4}  # noqa: E731
    rows = {
        targets.PLAIN: row(33.9),
        "median, then Gaussian": row(38.5),
        targets.INPUTS: row(32.0),
        "CLAHE, clip 0.01": row(27.5),
    }
    for x4, told in ((33.9, "fails"), (25.0, "holds")):
        found = {"placing": {"cxr": {"2": row(40), "4": row(x4), "8": row(30)}}, "targets": rows, "resamplers": {}}
        assert verdicts_paper.plausibility(real, found).verdict == told
    assert verdicts_paper.filtering(real, found).verdict == "void" and "+4.60 dB" in verdicts_paper.filtering(real, found).ours
    rows["median, then Gaussian"] = row(34.0)
    assert verdicts_paper.filtering(real, found).verdict == "fails"
    noisy = verdicts_paper.generator_input({"noise": 0.2, "inputs": 0.1, "n": 4})
    assert noisy.verdict == "void" and "by 20% of the range, between inputs by 10%" in noisy.ours
    extent = verdicts_paper.extent(real, Opened(), results_of(33, 34, 33))
    assert extent.verdict == "fails" and "below 0.0625" in extent.ours


def test_speed_is_the_median_of_a_rotation():
    calls = []
    found = speed.rotation({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3 and {row: len(ms) for row, ms in found.items()} == {"a": 2, "b": 2}
    assert speed.milliseconds({"rows": {"a": {"ms": [1.0, 9.0, 2.0]}}}, "a") == 2.0


def test_patients_count_once():
    columns = {"patient": ["a", "a", "b"]}
    evaluation = Evaluation(["1", "2", "3"], {"model": {"psnr": np.array([30.0, 32.0, 40.0])}}, columns)
    np.testing.assert_allclose(scores.by_patient(evaluation, "model", "psnr"), [31.0, 40.0])
    assert scores.share_of({0.2: 1, 0.7: 1}) == 0.7 and title("ct_x4") == "CT slices x4"
    assert verdicts_images.clear(compare(np.ones(8), np.zeros(8))) and not verdicts_images.clear({"ci95": None})
