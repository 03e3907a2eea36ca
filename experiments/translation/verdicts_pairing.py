"""Claims on which slice belongs to which: pairs by index, what they cost, and neighbouring slices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from experiments.claims import Claim, verdict
from experiments.translation import misalignment
from experiments.translation.runs import Study
from experiments.translation.scores import Results
from medjax.data import alignment, intensities, survey
from medjax.data.subjects import find_pairs
from medjax.formats.volume import read_volume
from medjax.types import MedjaxError

SIMULATED = "The heads are simulated, so they cannot test a claim on people; what they give is shown. "
NATIVE = "mri_t1_t2_native"
NEIGHBOUR_MM = 4
T1_MM, T2_MM = 1.2, 1.25  # IXI's slice distances


def why(study: Study) -> str:
    """What precedes an explanation where the heads are simulated."""
    return "" if study.real else SIMULATED


def on_real(study: Study, holds: bool) -> str:
    """The verdict on a claim about people, which simulated heads cannot test."""
    return verdict(holds) if study.real else "untestable"


def index_gap(index: int) -> float:
    """How far apart slices of one index lie in IXI's two stacks, if both were cut in one plane about one centre; mm."""
    t1 = (index - (misalignment.T1_SLICES - 1) / 2) * T1_MM
    return (index - (misalignment.T2_SLICES - 1) / 2) * T2_MM - t1


def pairing(study: Study) -> Claim:
    """Slices of one index are not slices of one place."""
    gaps = [index_gap(i) for i in (misalignment.FIRST, misalignment.LAST)]
    return Claim(
        "pairing",
        "T1 and T2 slices of one index are directly corresponding ('a direct correlation between the images')",
        "paired by index",
        f"{min(gaps):.0f} to {max(gaps):.0f} mm apart even in one plane, and IXI's stacks are in two: T1 is stored sagittal, T2"
        f" axial{_unregistered(study)}",
        None,
        verdict(max(map(abs, gaps)) <= T1_MM),
        f"Arithmetic: {misalignment.T1_SLICES} slices of {T1_MM} mm and {misalignment.T2_SLICES} of {T2_MM} mm about one centre."
        " The storage and the lack of registration are known of IXI from its users (threads 13 and 24 of icon-lab/SynDiff). Holds"
        " within one slice.",
    )


def _unregistered(study: Study) -> str:
    """What a pair as the scanner left it looks like, where one is at hand."""
    root = Path(study.root).expanduser().parent if study.root else Path(os.environ.get("MEDJAX_DATA", ""))
    folder = root / NATIVE
    if not study.real or not folder.is_dir():
        return ""
    try:
        name, paths = next(iter(find_pairs(folder, ("T1", "T2"))[0].items()))
        stored = [read_volume(path) for path in paths]
        heads = [intensities.read_head(volume) for volume in stored]
        laid = [
            alignment.resample(x, heads[1].volume.affine, heads[0].volume.values.shape, heads[0].volume.affine)
            for x in (heads[1].unit(), heads[1].mask)
        ]
        score = alignment.alignment(heads[0].unit(), laid[0], heads[0].mask, laid[1], heads[0].volume.spacing)
        registered = survey.survey(paths, registration="rigid", cache=survey.OFF).after
    except MedjaxError:
        return ""
    shapes = " and ".join(f"{'x'.join(map(str, v.values.shape))} {v.axcodes}" for v in stored)
    return (
        f"; an unregistered pair at hand ({name}): {shapes}, normalised mutual information {score.nmi:.4f} as it lies and"
        f" {registered.nmi:.4f} once registered"
    )


def pairing_cost(study: Study, results: Results, found: dict[str, Any]) -> Claim:
    """A perfect network, scored as the paper pairs."""
    planes = {m: misalignment.mean_of(found, "planes", m)["mean"] for m in ("psnr", "ssim", "psnr_inside")}
    curve = misalignment.curve(found, "psnr")
    parts = "; ".join(f"{mm} mm {curve[mm]['mean']:.1f} dB" for mm in misalignment.AUDIT if mm in curve)
    best = results.best_map()
    level = results.mean(best, "psnr")["mean"]
    audit = "; ".join(f"{mm} mm {value} dB" for mm, value in misalignment.AUDIT.items())
    return Claim(
        "pairing-cost",
        "Pairs by index can serve as ground truth (implied)",
        f"not measured; an audit on an average template (SPM's avg152T2): {audit}; axial beside sagittal"
        f" {misalignment.AUDIT_PLANES[0]} dB / {misalignment.AUDIT_PLANES[1]}",
        f"a perfect predictor on whole slices: {parts}; axial beside sagittal {planes['psnr']:.1f} dB / {planes['ssim']:.2f}"
        f" (inside the head {planes['psnr_inside']:.1f} dB); a map of intensity on aligned pairs ({best}) has {level:.1f} dB",
        len(found["subjects"]),
        on_real(study, planes["psnr"] > level),
        f"{why(study)}The true T2 scored against itself, shifted or across. Holds if a network that errs nowhere would, on such"
        f" pairs, still score above a map of T1 intensity on true pairs. {_softness(found)}",
    )


def _softness(found: dict[str, Any]) -> str:
    """Where the audit's figures lie, between a person's volumes as they are and as soft as an average."""
    curves = [misalignment.curve({"subjects": found[part]}, "psnr") for part in ("subjects", "blurred")]
    rows = {mm: [curve[mm]["mean"] for curve in curves] for mm in misalignment.AUDIT if mm in curves[0]}
    if not rows:
        return ""
    between = [low <= misalignment.AUDIT[mm] <= high for mm, (low, high) in rows.items()]
    told = "; ".join(f"{mm} mm {high:.1f} dB" for mm, (_, high) in rows.items())
    place = "lie between the two" if all(between) else f"lie between the two at {sum(between)} of {len(between)} distances"
    return (
        "The audit's template is an average of many heads, softer than any one, and shows the whole head. Blurred to"
        f" {misalignment.TEMPLATE_FWHM:g} mm, these volumes give {told}; the audit's figures {place}: an average template"
        " understates what one person's scan pays."
    )


def neighbours(study: Study, results: Results, found: dict[str, Any]) -> Claim:
    """Whether one slice can stand for another a few millimetres away."""
    curves = {m: misalignment.curve(found, m) for m in ("psnr", "psnr_inside")}
    ours = results.mean("main", "psnr_inside")["mean"]
    near = [mm for mm, row in curves["psnr_inside"].items() if row["mean"] >= ours]
    entry = curves["psnr_inside"].get(NEIGHBOUR_MM) or next(iter(curves["psnr_inside"].values()))
    mm = NEIGHBOUR_MM if NEIGHBOUR_MM in curves["psnr_inside"] else next(iter(curves["psnr_inside"]))
    reach = f"up to {max(near)} mm" if near else f"at no distance from {next(iter(curves['psnr_inside']))} mm on"
    return Claim(
        "neighbours",
        "The direct correlation of a pair holds for adjacent slices, so 20 neighbours are included",
        "assumed; 20 slices span 24 mm",
        f"a slice {mm} mm away scores {entry['mean']:.1f} dB inside the head ({curves['psnr'][mm]['mean']:.1f} dB whole slice);"
        f" the network scores {ours:.1f} dB: a neighbour can stand in for a slice {reach}",
        len(found["subjects"]),
        on_real(study, entry["mean"] >= ours),
        f"{why(study)}The true T2 of a neighbour as prediction. Neighbours of aligned volumes are good further pairs, each with"
        f" its own counterpart; they are not interchangeable. Holds if a neighbour {NEIGHBOUR_MM} mm away costs no more than the"
        " network's own error on held-out subjects.",
    )
