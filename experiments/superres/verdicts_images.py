"""Claims that trained networks decide: PSNR and SSIM over bicubic, what the adversary does to them, distances, artefacts."""

from __future__ import annotations

from typing import Any

from experiments.claims import Claim, verdict
from experiments.superres.runs import RUNS, Study, config_of, title
from experiments.superres.scores import Results
from experiments.superres.tables import FEW, gap
from medjax.report.blocks import cell, number

SIMULATED = "The images are simulated, so they cannot test a claim on medical images; what they give is shown. "
SMALLER = "This scale trains smaller networks for less time than published, so falling short here is weak evidence. "
GRID = 0.1  # by how much the regular grids of an image may exceed the reference's


def why(study: Study) -> str:
    """What precedes an explanation, by what the images are and how large the training was."""
    return SIMULATED if not study.real else "" if study.scale_name == "paper" else SMALLER


def on_real(study: Study, holds: bool) -> str:
    """The verdict on a claim about medical images, which simulated ones cannot test."""
    return verdict(holds) if study.real else "untestable"


def clear(entry: dict[str, Any]) -> bool:
    """Whether an interval lies above 0."""
    return bool(entry["ci95"]) and entry["ci95"][0] > 0


def adversarial_pairs(results: Results) -> list[str]:
    """The images on which there is a second phase."""
    return [RUNS[run].pairs for run in results.evaluations if RUNS[run].after]


def patients(results: Results, pairs: list[str]) -> int:
    """How many test patients stand behind a verdict."""
    return sum(len(results.of(p, "bicubic", "psnr")) for p in pairs)


def caution(results: Results, pairs: list[str]) -> str:
    """Where an interval is of too few patients to be trusted."""
    counts = {p: patients(results, [p]) for p in pairs}
    told = ", ".join(f"{title(p)} ({n})" for p, n in counts.items() if n < FEW)
    return f" Of so few patients no test can reach p = 0.05, and intervals are too narrow: {told}." if told else ""


def above_bicubic(study: Study, results: Results) -> Claim:
    """The system that the paper claims it for is the GAN; the L1 phase stands beside."""
    pairs = adversarial_pairs(results)
    told, held = [], []
    for p in pairs:
        gan, first = results.gan(p), results.first(p)
        entries = {(row, m): results.versus(p, row, "bicubic", m) for row in (gan, first) for m in ("psnr", "ssim")}
        held += [clear(entries[gan, m]) for m in ("psnr", "ssim")]
        told.append(
            f"{title(p)}: GAN {cell('psnr', entries[gan, 'psnr'], sign=True)} dB, SSIM"
            f" {cell('ssim', entries[gan, 'ssim'], sign=True)}; L1 alone {cell('psnr', entries[first, 'psnr'], sign=True)} dB,"
            f" SSIM {cell('ssim', entries[first, 'ssim'], sign=True)}"
        )
    return Claim(
        "above-bicubic",
        "The GAN has 'higher PSNR and SSIM than traditional methods' (bilinear, bicubic interpolation)",
        "five images, 24.86 to 28.61 dB; no bicubic row, no scale, no modality, no n",
        "over bicubic: " + "; ".join(told),
        patients(results, pairs),
        on_real(study, all(held)),
        f"{why(study)}Paired by patient, Pillow's antialiased bicubic both ways, mean [95% interval]. Holds if the GAN lies above"
        " bicubic in both, intervals above 0, on every modality scored. The paper's own table cannot support it: it has no row to"
        f" compare with.{caution(results, pairs)}",
    )


def adversarial(study: Study, results: Results) -> Claim:
    """GAN minus the L1 phase that it began from."""
    pairs = adversarial_pairs(results)
    entries = {p: results.versus(p, results.gan(p), results.first(p), "psnr") for p in pairs}
    told = "; ".join(f"{title(p)} {cell('psnr', e, sign=True)} dB" for p, e in entries.items())
    perceptual = config_of(study, results.gan(pairs[0])).method.perceptual.weight
    weight = f"with a perceptual term of weight {perceptual:g}" if perceptual else "without a perceptual term"
    return Claim(
        "adversarial-loss",
        "Adversarial, perceptual and pixel loss together give higher PSNR",
        "no row without the adversary",
        f"GAN minus L1: {told}",
        patients(results, pairs),
        on_real(study, all(clear(e) for e in entries.values())),
        f"{why(study)}The GAN phase begins from the L1 phase's weights and is scored on the same patients, {weight}. Holds if its"
        " interval lies above 0 on every modality. Published models lose 2.0 to 2.3 dB by the same"
        f" step.{caution(results, pairs)}",
    )


def distance(study: Study, results: Results) -> Claim:
    """No FID is printed; ours over what is at hand."""
    pairs = adversarial_pairs(results)[0]
    rows = {"bicubic": "bicubic", results.first(pairs): "L1", results.gan(pairs): "GAN"}
    records = {name: results.record(pairs, row) for row, name in rows.items()}
    keys = [k for k in records["GAN"] if k.partition("/")[0] in ("fid", "fd")]
    fid = [k for k in keys if k.startswith("fid/") and all(r[k]["value"] is not None for r in records.values())]
    shown = []
    for key in keys:
        values = {name: found[key]["value"] for name, found in records.items()}
        if None not in values.values():
            shown.append(f"{key}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
    better = bool(fid) and records["GAN"][fid[0]]["value"] < records["bicubic"][fid[0]]["value"]
    return Claim(
        "fid",
        "'Significant improvement in FID score'",
        "no FID value is printed",
        f"{title(pairs)}, distance of each row's set to the references, lower is nearer: {'; '.join(shown) or 'none measured'}",
        len(results.evaluations[results.first(pairs)][0].names),
        on_real(study, better) if fid else "untestable",
        f"{why(study)}The word FID is kept for Inception's published weights; over other features it is a Frechet distance and"
        " compares rows of one set with each other alone. So few images bias it, all rows alike. Judged where the published"
        " weights are at hand, by whether the GAN lies nearer than bicubic; else there is nothing to hold against the claim.",
    )


def accuracy(study: Study, results: Results) -> Claim:
    """A curve that nobody defined; what a small gap would have to be of."""
    run = next(r for r in results.trained if RUNS[r].after)
    parts = {name: gap(results, r) for name, r in (("L1", RUNS[run].after), ("GAN", run))}
    told = "; ".join(
        f"{name} {seen['mean']:.2f} dB on images trained on, {held['mean']:.2f} dB on others"
        for name, (seen, held) in parts.items()
    )
    return Claim(
        "accuracy-curve",
        "Accuracy and validation accuracy grow, with a small gap: strong generalisation, minimal overfitting",
        "a curve of 'accuracy' of a generator of images, undefined",
        f"PSNR, {title(RUNS[run].pairs)}: {told}",
        len(results.of(RUNS[run].pairs, run, "psnr")),
        "void",
        f"{why(study)}A generator that is judged by PSNR has no accuracy; a discriminator's accuracy says nothing of images."
        " What can be compared, each metric on images trained on and on others, is shown beside it while training goes on and"
        " at its end.",
    )


def artefacts(study: Study, results: Results) -> Claim:
    """Grids and invented detail, by measures that need a reference."""
    names = {"checkerboard2": "grid at stride 2", "checkerboard4": "grid at stride 4", "spectrum_ratio": "power of fine detail"}
    told, held = [], []
    pairs = adversarial_pairs(results)
    for p in pairs:
        gan = results.gan(p)
        means = {m: results.mean(p, gan, m)["mean"] for m in names}
        # Of a smooth reference an enlargement without any network may exceed it too.
        limits = {m: max(1.0, results.mean(p, "bicubic", m)["mean"]) + GRID for m in ("checkerboard2", "checkerboard4")}
        held += [means[m] <= limit for m, limit in limits.items()]
        similar = {row: results.mean(p, row, "gms")["mean"] for row in (results.first(p), gan)}
        told.append(
            f"{title(p)}: " + ", ".join(f"{names[m]} {number(m, v)}" for m, v in means.items())
            + f", gradient similarity {number('gms', similar[gan])} (L1 {number('gms', similar[results.first(p)])})"
        )  # fmt: skip
    return Claim(
        "artefacts",
        "Images are enhanced 'without introducing significant artifacts'; also: 'may introduce artifacts if not properly"
        " trained'",
        "no measure of artefacts",
        "the GAN's, as multiples of the reference's: " + "; ".join(told),
        patients(results, pairs),
        on_real(study, all(held)),
        f"{why(study)}Holds if no regular grid of the GAN's images exceeds the reference's, or bicubic's where that is"
        f" stronger, by more than {GRID:.0%} of the reference's. Detail that is sharp and in the wrong place is no grid:"
        " gradient similarity below the L1 phase's is what shows it, and no measure says whether a finding was invented.",
    )
