"""The study's report: one page that answers the paper's question, with everything the answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import sensitivity
from experiments.attention import plots, tables, tables_training
from experiments.attention.elsewhere import Elsewhere
from experiments.attention.runs import ATTENTION, RUNS, Study, config_of, epoch_steps
from experiments.attention.scores import Results
from experiments.common import protocol_blocks
from medjax import report
from medjax.build.data import Data
from medjax.figures import NAMES
from medjax.report import Section
from medjax.report.blocks import ARTEFACTS, cell, p_value
from medjax.report.build import PHANTOM

TITLE = "Does self-attention help pix2pix enhance chest X-rays?"


def build(
    study: Study,
    data: Data,
    results: Results,
    other: Elsewhere,
    costs: dict[str, Any],
    audit: dict[str, Any],
    sensed: Sequence[dict[str, Any]],
    claims: Sequence[dict],
) -> Path:
    """Write `report.html`; returns its path."""
    steps = epoch_steps(config_of(study, "baseline"), data)
    sizes = {name: len(data.splits[name]) for name in ("train", "validation", "test")}
    attention = "both" if "both" in results.evaluations else "baseline"
    sections = [
        Section("", [_banner(study, data), report.text(answer(study, results))]),
        Section("What was run", [tables.facts(study, results, sizes)]),
        Section("Results", [tables.table_one(results), plots.intervals(results)]),
        Section("What attention changes", [tables.differences(results), *plots.distributions(results)]),
        Section("Over feature networks", tables.feature_tables(results)),
        Section("What such distances can tell", [block for found in sensed for block in sensitivity.blocks(found)]),
        Section("Seeds", [b for b in [tables_training.seeds(study, results)] if b]),
        Section("During training", [tables_training.periodic(study, results), plots.together(results), plots.gammas(results)]),
        Section("Training curves", [*plots.training(results, "baseline", 2), *plots.training(results, attention, 3)]),
        Section("What attention costs", [tables_training.placements(study, costs, steps), tables_training.published(costs)]),
        Section("Pictures", [plots.pipeline(study, data), *plots.side_by_side(study, data, results)]),
        Section("Over-smoothing and checkerboards", [report.text(failures(results)), tables.artefacts(results)]),
        Section("Another hospital", _elsewhere(other)),
        Section("The paper's input row", [tables.hypotheses(audit)]),
        Section("Claims of the paper", [report.claims_table(claims)]),
        Section("Protocol and versions", protocol_blocks(results.summaries["baseline"][0])),
    ]
    subtitle = f"A reproduction study of paper 000 (pix2pix and self-attention), scale {study.scale_name}"
    return report.save(study.workdir / "report.html", report.page(TITLE, sections, subtitle=subtitle))


def _banner(study: Study, data: Data) -> str:
    if not study.real:
        return report.warning(PHANTOM)
    message = (
        f"**Real images**: {data.source.kind}, {len(data.source)} frontal chest X-rays of"
        f" {len({r.patient for r in data.source.records})} patients, degraded by computer. No reader has judged any"
        " picture here: scores say how near an image is to the original, not whether a finding can still be seen."
    )
    if study.scale_name != "paper":
        message += (
            f" This is the **{study.scale_name}** scale: networks, images and training are smaller than published, so"
            " levels are lower; what can be read is how the runs compare with each other."
        )
    return report.note(message)


def answer(study: Study, results: Results) -> str:
    """The question answered in a few sentences, each as strong as its interval."""
    n, best = len(results.names), results.best_classical()
    baseline, denoised = results.mean("baseline", "psnr"), results.mean(best, "psnr")
    lines = [
        f"On {n} test images pix2pix without attention reaches {cell('psnr', baseline)} dB; the degraded input has "
        f"{cell('psnr', results.mean('input', 'psnr'))} dB and the best classical denoiser, {NAMES.get(best, best)}, "
        f"{cell('psnr', denoised)} dB.{_standing(results, best)}"
    ]
    for run, entry in tables.attention_differences(results):
        lines.append(
            f"- {RUNS[run].label}: **{_word(entry)}**, {cell('psnr', entry, sign=True)} dB, paired p {_p(entry)}"
        )
    if "l1_only" in results.evaluations:
        entry = results.versus("l1_only", "baseline", "psnr")
        lines.append(
            f"- {RUNS['l1_only'].label}: **{_word(entry)}**, {cell('psnr', entry, sign=True)} dB, paired p {_p(entry)}"
        )
    caveat = "The intervals cover the choice of images, not the luck of a training" + (
        ", of which there is one per row: differences of a few tenths of a decibel may be chance."
        if study.seeds == 1
        else "; see Seeds."
    )
    return f"{lines[0]}\n\nAgainst pix2pix, at equal epochs:\n\n" + "\n".join(lines[1:]) + f"\n\n{caveat}"


def _standing(results: Results, best: str) -> str:
    """What pix2pix is worth here: a model below its own input improves no picture, and the reader must know."""
    parts = {row: results.versus("baseline", row, "psnr") for row in ("input", best)}
    name = NAMES.get(best, best)
    if parts["input"]["mean"] < 0:
        return (
            " **It scores below its own input**: at this length of training the network has not yet learnt to pass"
            " fine detail through, so these runs rank placements of attention, they do not enhance images."
        )
    if parts[best]["mean"] < 0:
        return f" It improves the input, but **the classical filter {name} scores higher**."
    return f" It scores above the classical {name}."


def _word(entry: dict[str, Any]) -> str:
    if not entry["ci95"]:
        return "too few images to say"
    low, high = entry["ci95"]
    return "higher" if low > 0 else "lower" if high < 0 else "no difference shown"


def _p(entry: dict[str, Any]) -> str:
    p = p_value(entry["p_value"])
    return p if p.startswith("<") else f"= {p}"


def failures(results: Results) -> str:
    """The paper's two observations of section 4.8 and 4.5, put to the test."""
    lines = []
    for metric, claim in (("spectrum_ratio", "Over-smoothing is 'more pronounced in the attention model'"),
                          ("checkerboard2", "There are 'slight checkerboard artifacts'")):  # fmt: skip
        base = results.mean("baseline", metric)
        parts = [
            f"{RUNS[run].short} {cell(metric, results.versus(run, 'baseline', metric), sign=True)}"
            for run in results.evaluations
            if run in ATTENTION
        ]
        lines.append(
            f"- {claim}: {ARTEFACTS[metric]} of pix2pix is {cell(metric, base)} times the reference's; attention minus"
            f" pix2pix: {'; '.join(parts) or 'not run'}."
        )
    return "\n".join(lines)


def _elsewhere(other: Elsewhere) -> list[str]:
    if other.reason:
        return [report.text(f"Not run: {other.reason}.")]
    opening = (
        f"{len(other.names)} chest X-rays of another hospital (Actualmed), brought to a square like the training"
        " images. Unit, view and finding go together in this set, so nothing here separates them."
    )
    return [report.text(opening), *tables.other_hospital(other), *plots.as_they_come(other)]
