"""Claims that arithmetic and interpolation decide: where five figures lie, filtered targets, noise, settings, extent, speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.claims import Claim, verdict
from experiments.superres import speed, targets
from experiments.superres.runs import MODALITIES, RUNS, Opened, Study
from experiments.superres.scores import Results
from experiments.superres.verdicts_images import clear, on_real, why
from medjax.metrics import statistics

MARGIN = 1.0  # dB by which filtering may move interpolation before a PSNR says nothing


def plausibility(study: Study, found: dict[str, Any]) -> Claim:
    """Where the paper's mean lies among bicubic rows."""
    mean, deviation, similarity = targets.paper_mean()
    rows = found["placing"]
    told = "; ".join(
        f"{MODALITIES[name]} " + ", ".join(f"x{factor} {row['psnr']:.1f}" for factor, row in by.items())
        for name, by in rows.items()
    )
    clahe = [row["psnr"] for name, row in found["targets"].items() if name.startswith("CLAHE")]
    above = all(mean > _at(by, 4)["psnr"] for by in rows.values())
    return Claim(
        "plausibility",
        "24.86 to 28.61 dB show 'improved clarity' and 'better overall image fidelity'",
        f"{mean:.2f} ± {deviation:.2f} dB, SSIM {similarity:.3f}, five images",
        f"bicubic alone (dB): {told}; x4 of X-rays after CLAHE {min(clahe):.1f} to {max(clahe):.1f}",
        sum(_at(by, 4)["n"] for by in rows.values()),
        on_real(study, above),
        f"{'' if study.real else why(study)}No network. Modality and scale are not stated, so the figures fit several rows of"
        " interpolation and none in particular. Holds if their mean lies above x4 bicubic on every modality at hand.",
    )


def _at(rows: dict[Any, Any], factor: int) -> dict[str, Any]:
    """A row by its factor, which JSON made a word of."""
    return rows[str(factor)] if str(factor) in rows else rows[factor]


def filtering(study: Study, found: dict[str, Any]) -> Claim:
    """Filtering in preprocessing, which includes the target."""
    rows = found["targets"]
    plain, both, inputs = rows[targets.PLAIN], rows["median, then Gaussian"], rows[targets.INPUTS]
    lift = both["psnr"] - plain["psnr"]
    return Claim(
        "filtered-targets",
        "Median and Gaussian filtering in preprocessing 'remove artifacts and ensure focus on relevant structures'",
        "PSNR after it, not said of which target",
        f"x4 bicubic of X-rays: {plain['psnr']:.2f} dB as they are, {both['psnr']:.2f} dB where the target was filtered"
        f" ({lift:+.2f} dB with no model); {inputs['psnr']:.2f} dB where the input alone was",
        plain["n"],
        "untestable" if not study.real else "void" if lift > MARGIN else verdict(inputs["psnr"] >= plain["psnr"]),
        f"{'' if study.real else why(study)}An earlier look at the paper had 33.9 to 38.5 dB. Void where filtering the target"
        f" alone moves interpolation by more than {MARGIN:g} dB: a PSNR against such a target rises by what was taken out of"
        " it. medjax filters inputs only, and says so.",
    )


def generator_input(draws: dict[str, Any]) -> Claim:
    """Whether noise or the image makes the output."""
    noise, image = 100 * draws["noise"], 100 * draws["inputs"]
    return Claim(
        "generator-input",
        "The generator 'starts with a random noise vector'; also: 'instead of pure noise, the input is a low-resolution image'",
        "random noise, and a low-resolution image",
        f"between draws a pixel varies by {noise:.3g}% of the range, between inputs by {image:.3g}%",
        draws["n"],
        "void",
        "Read: the two sentences contradict each other, and nothing of ESRGAN (its dense blocks, the relativistic average"
        " adversary, features before the activation) is named. The figures are of the network trained here, which is ESRGAN's"
        " kind: it has neither a noise input nor dropout, so they say what that means and decide nothing about the paper's.",
    )


def settings(study: Study, opened: Opened, found: dict[str, Any]) -> Claim:
    """What the paper leaves open, and what one of the settings is worth."""
    rows = found["placing"]["cxr"]
    ends = [_at(rows, factor)["psnr"] for factor in (targets.FACTORS[0], targets.FACTORS[-1])]
    low, high = targets.spread_of(found["resamplers"])
    return Claim(
        "settings",
        "TensorFlow and PyTorch; 256x256 pixels, 15 degrees, elastic deformation, scaling; Adam, 100+ epochs, batch 16",
        "no scale factor, weights of the losses, depth of the network, data sets or split",
        f"bicubic of X-rays alone goes from {ends[0]:.1f} dB at x{targets.FACTORS[0]} to {ends[1]:.1f} dB at"
        f" x{targets.FACTORS[-1]}; which library's bicubic moves x4 by {high - low:.2f} dB",
        _at(rows, 4)["n"],
        "untestable",
        "What is not stated cannot be repeated. Ours is stated with every figure (scale, resampler, range, split by patient), and"
        f" the config of each of the {len(opened.runs)} runs lies in its workdir.",
    )


def extent(study: Study, opened: Opened, results: Results) -> Claim:
    """Five images for three modalities."""
    values = np.array([value for value, _ in targets.PAPER])
    interval = statistics.bootstrap_interval(values)
    smallest = statistics.paired_permutation(np.ones(len(values)), np.zeros(len(values)))
    ours = {RUNS[run].pairs: len(results.evaluations[run][0].names) for run in opened.runs}
    counts = {MODALITIES[pairs.partition("_")[0]]: n for pairs, n in ours.items()}
    return Claim(
        "extent",
        "'Extensive experiments demonstrate robust performance across diverse anatomical regions'",
        "five images, of no named modality or region",
        f"five images: mean {values.mean():.2f} dB [{interval[0]:.2f}, {interval[1]:.2f}], and no test of five pairs can give p"
        f" below {smallest:.4f}; here {', '.join(f'{n} {name}' for name, n in counts.items())}",
        len(values),
        verdict(smallest < 0.05),
        "Arithmetic. Holds if five images could show anything at p < 0.05 by a two-sided sign-flip test, were all of them"
        " better.",
    )


def light(study: Study, results: Results, found: dict[str, Any], alone: list[dict[str, Any]]) -> Claim:
    """The objectives that were not delivered: light networks in real time, and learning without a set."""
    rows = [row for row in found["rows"] if row in RUNS and RUNS[row].network == "light"]
    told, fast = [], False
    for row in rows:
        ms = speed.milliseconds(found, row)
        gain = results.versus(RUNS[row].pairs, row, "bicubic", "psnr")
        fast = 1000 / ms >= speed.REAL_TIME and clear(gain)
        told.append(f"light RRDB {ms:.0f} ms a frame, {gain['mean']:+.2f} dB over bicubic")
    told.append(f"the published generator {speed.milliseconds(found, speed.PUBLISHED):.0f} ms")
    if alone:
        by = {row: np.mean([entry["rows"][row]["psnr"] for entry in alone]) for row in ("itself", "bicubic")}
        told.append(f"trained on one image alone {by['itself'] - by['bicubic']:+.2f} dB over bicubic (n = {len(alone)})")
    side = found["frame"]
    return Claim(
        "objectives",
        "Self-supervised learning and lightweight GANs 'for real-time medical image enhancement' are explored",
        "nothing is shown; in the end future work",
        f"{side} to {2 * side} pixels on this machine: {'; '.join(told)}",
        len(results.of("cxr_x2", "bicubic", "psnr")) if "cxr_x2" in {RUNS[r].pairs for r in results.evaluations} else None,
        on_real(study, fast),
        f"{why(study)}{found['device']}, {found['threads']} cores, medians of runs in rotation. Not the paper's result, which"
        f" has none: holds if the light generator gives at least {speed.REAL_TIME:g} frames a second here and lies above"
        " bicubic, interval above 0.",
    )
