"""The study's report: one page that answers what the paper leaves open, with everything the answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import protocol_blocks
from experiments.translation import misalignment, plots, plots_volumes, tables, tables_other, volume
from experiments.translation.runs import RUNS, Study
from experiments.translation.scores import Results
from medjax import report
from medjax.build.data import Data
from medjax.report import Section

TITLE = "T1 to T2 by pix2pix: what is synthesised, and what a wrong pairing hides"
MARGIN = 0.5  # dB above the best map of intensity: what the study set out to reach


def build(
    study: Study,
    data: dict[str, Data],
    results: Results,
    found: dict[str, Any],
    lesions: dict[str, Any],
    made: dict[str, Any],
    claims: Sequence[dict],
) -> Path:
    """Write `report.html`; returns its path. found: misalignment; made: the synthetic volume."""
    main, levels = data["main"], _levels(results)
    heads = data[study.on_phantoms]
    scored = [tables.table_one(study, results), tables.differences(study, results), tables.subjects(study, results)]
    cost = [plots_volumes.curves(found, levels), tables_other.misaligned(found), *plots_volumes.side_by_side(study)]
    training = [block for run in ("published", "main") for block in plots.training(results, run)]
    sections = [
        Section("", [_banner(study, main), report.text(answer(study, results, found))]),
        Section("What was run", [facts(study, data)]),
        Section("Results on subjects that were not trained on", scored),
        Section("Calibration and structure", [tables.affine(study, results)]),
        Section("Over feature networks", tables.feature_tables(study, results)),
        Section("Figures 3 to 5 of the paper", plots.progress(study, main, results)),
        Section("Test subjects side by side", plots.cases(main, results, study.compared)),
        Section("The paper's protocol: slices that were trained on", [tables.optimism(study, results)]),
        Section("Another population", tables.others(study, results)),
        Section("What misalignment costs", cost),
        Section("A whole volume", _volume(study, made)),
        Section("From slice to slice", [tables_other.consistency(results)]),
        Section("Dropout as noise", tables_other.dropout(results)),
        Section("Lesions, on simulated heads", _lesions(study, heads, results, lesions)),
        Section("Seeds", [block for block in [tables_other.seeds(study, results)] if block]),
        Section("The warm-up", [tables_other.digits(results), plots.warm_up(results, data["digits"])]),
        Section("Training", [plots.together(study, results), *training]),
        Section("Claims of the paper", [report.claims_table(claims)]),
        Section("Protocol and versions", protocol_blocks(results.summaries["main"][0])),
    ]
    subtitle = f"A reproduction study of paper 002 (pix2pix, T1 to T2 brain MRI), scale {study.scale_name}"
    return report.save(study.workdir / "report.html", report.page(TITLE, sections, subtitle=subtitle))


def _levels(results: Results) -> dict[str, float]:
    best = results.best_map()
    rows = {"main": f"{RUNS['main'].short}, held out", best: f"{tables.SHORT[best]} map, held out"}
    return {name: results.mean(row, "psnr")["mean"] for row, name in rows.items()}


def _banner(study: Study, data: Data) -> str:
    if not study.real:
        return report.warning(
            "**These are simulated heads, not patients.** Every volume was computed from a model of the brain and the signal"
            " equation of MRI. The figures show that the method works and compare methods with each other; they say nothing about"
            " real scans."
        )
    subjects = len({r.patient for r in data.source.records})
    message = (
        f"**Real scans**: {subjects} subjects of `{data.source.kind}`"
        + (f" whose names match `{study.chosen}`" if study.chosen else "")
        + ", both contrasts on one grid. No reader has judged any picture here: scores say how near a synthetic T2 is to the real"
        " one, not whether a finding can still be seen. A synthetic T2 holds nothing that the T1 does not."
    )
    if study.scale_name != "paper":
        message += (
            f" This is the **{study.scale_name}** scale: other images, and networks and training smaller than published; what can"
            " be read is how rows compare."
        )
    return report.note(message)


def answer(study: Study, results: Results, found: dict[str, Any]) -> str:
    """What came out, in a few sentences, each as strong as its figures."""
    best, n = results.best_map(), len(results.subjects)
    gain = results.of("main", "psnr_inside") - results.of(best, "psnr_inside")
    after = results.of("main", "psnr_affine") - results.of(best, "psnr_affine")
    reached = "reaches" if gain.mean() >= MARGIN else "**falls short of**"
    adversary = results.versus("main", "l1_only", "psnr_inside")["mean"]
    lines = [
        f"On {n} held-out subject{'s' * (n > 1)} the residual network reaches"
        f" **{results.mean('main', 'psnr_inside')['mean']:.2f} dB** inside the head, the published network"
        f" {results.mean('published', 'psnr_inside')['mean']:.2f} dB. The {tables.label(best)} has"
        f" {results.mean(best, 'psnr_inside')['mean']:.2f} dB: the residual network lies **{gain.mean():+.2f} dB** from it"
        f" ({gain.min():+.2f} to {gain.max():+.2f} by subject; {after.mean():+.2f} dB after the best affine map of both) and"
        f" {reached} the {MARGIN} dB above it that a network should gain to be worth its trouble.",
        f"- With the adversary the residual network scores {adversary:+.2f} dB against L1 alone.",
        _published(study, results, best),
        _optimism(results),
        _misalignment(results, found),
    ]
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


def _published(study: Study, results: Results, best: str) -> str:
    entry = results.versus("published", best, "psnr_inside")
    word = "above" if entry["mean"] > 0 else "**below**"
    steps = study.scale.steps["published"]
    return f"- The published network, after {steps:,} steps, ends {abs(entry['mean']):.2f} dB {word} that map of intensity."


def _optimism(results: Results) -> str:
    gaps = {row: tables.optimism_of(results, row)["gap"] for row in ("published", "main", results.best_map())}
    return (
        f"- On the slices it was trained on, the paper's own protocol, the published network scores {gaps['published']:+.2f} dB"
        f" against held-out subjects and the residual one {gaps['main']:+.2f} dB; the map of intensity, which cannot learn by"
        f" heart, {gaps[results.best_map()]:+.2f} dB."
    )


def _misalignment(results: Results, found: dict[str, Any]) -> str:
    curve, planes = misalignment.curve(found, "psnr_inside"), misalignment.mean_of(found, "planes", "psnr")
    whole = results.mean("main", "psnr")["mean"]
    mm = list(curve)[min(1, len(curve) - 1)] if curve else 0
    near = f"A T2 that is right but {mm} mm off scores {curve[mm]['mean']:.1f} dB inside the head; paired" if curve else "Paired"
    return (
        f"- {near} as the paper pairs, axial beside sagittal, a perfect network would score {planes['mean']:.1f} dB on whole"
        f" slices, where ours has {whole:.1f} dB on true pairs."
    )


def facts(study: Study, data: dict[str, Data]) -> str:
    """What was run, in a few lines."""
    rows = [("scale", study.scale_name), ("seeds", study.seeds)]
    for run in study.runs:
        parts, source = data[run].splits, data[run].source
        people = {name: len({source.records[int(i)].patient for i in indices}) for name, indices in parts.items()}
        unit, whose = ("digits", None) if RUNS[run].arm == "digits" else ("slices", "subjects" if study.real else "heads")
        whose = "heads" if RUNS[run].arm == "phantom" else whose
        of = lambda name: f" of {people[name]} {whose if people[name] > 1 else whose[:-1]}" if whose else ""  # noqa: B023, E731
        counts = ", ".join(f"{name} {len(indices)} {unit}{of(name)}" for name, indices in parts.items())
        rows.append((run, f"{RUNS[run].label} ({RUNS[run].about}): {study.scale.steps[run]:,} steps on {source.kind}; {counts}"))
    notes = list(data["main"].source.notes)
    if notes:
        rows.append(("the data say", "; ".join(notes)))
    return report.table(("", ""), rows)


def _volume(study: Study, made: dict[str, Any]) -> list[str]:
    shape = " x ".join(map(str, made["shape"]))
    grid = "the same shape and affine as" if made["same_grid"] else "**another grid** than"
    seconds = 1000 * made["seconds"] / max(made["slices"], 1)
    told = (
        f"`{made['output']}`, {shape} voxels, {grid} its T1; {made['slices']} slices at {seconds:.0f} ms each, reading and"
        " compiling included."
    )
    if not study.real:
        told += " The head is of a series that no run draws from."
    caption = (
        "Three planes of that volume through the middle of the head (axial 5 mm above, sagittal 8 mm beside it). The network sees"
        f" axial slices; stripes across coronal and sagittal pictures would be its inconsistency. {plots.ORIENTATION} in axial"
        " pictures; coronal ones show the right on the left, sagittal ones the front on the left."
    ).replace(". in axial", " in axial")
    views = volume.planes(study, made)
    return [report.text(told), report.figure(plots_volumes.three_planes(views), caption)]


def _lesions(study: Study, data: Data, results: Results, found: dict[str, Any]) -> list[str]:
    total = int(np.sum([len(v) for v in found["rows"][study.on_phantoms].values()]))
    opening = plots_volumes.lesion_rule()
    if not total:
        return [report.text(f"{opening} At this scale's voxels no lesion is resolved, so none is counted.")]
    return [report.text(opening), tables_other.lesion_table(found), *plots_volumes.lesion_pictures(study, data, results, found)]
