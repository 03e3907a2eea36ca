"""The study's report: one page that answers what the paper leaves open, with everything the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.unpaired import plots, tables, tables_runs
from experiments.unpaired.runs import ARMS, Study
from experiments.unpaired.scales import PHANTOM, REAL
from experiments.unpaired.stages import Seen
from experiments.unpaired.verdicts import Found
from medjax import report
from medjax.build import config as configs
from medjax.build.data import Data
from medjax.metrics.judgement_table import share, value
from medjax.metrics.markdown_sets import share as rate
from medjax.report import Section
from medjax.report.blocks import cell

TITLE = "LED on chest X-rays: an enhancement learnt without pairs, and what it is worth"


def build(study: Study, data: Mapping[str, Data], seen: Mapping[str, Seen], found: Found, claims: Sequence[dict]) -> Path:
    """Write `report.html`; returns its path."""
    main, counted = study.main, found.counted
    sections = [
        Section("", [_banner(study), report.text(answer(study, found))]),
        Section("What was run", [tables_runs.facts(study, data)]),
        Section("What a classifier says (Table 1)", tables.classifier(found.judged)),
        *[Section(f"Against the truth, {ARMS[arm]}", tables_runs.restored(each)) for arm, each in found.restored.items()],
        *[Section(f"Images, {ARMS[arm]}", _pictures(arm, seen[arm])) for arm in study.arms],
        *[Section(f"Anatomy, {ARMS[arm]}", _anatomy(arm, seen[arm], each)) for arm, each in found.moved.items()],
        Section("Findings kept, lost and invented", [_findings(study, counted)]),
        Section("Start, condition, sampler and steps", [tables_runs.ablation(found.ablation)]),
        Section(f"The pools and the generated one, {ARMS[main]}", [plots.places(found.placed)]),
        *[Section(f"Balance of the pools, {ARMS[arm]}", [tables_runs.balance(each)]) for arm, each in found.balance.items()],
        Section("Training", [b for arm in study.arms for name in study.runs(arm) for b in plots.training(study, arm, name)]),
        Section("Claims of the paper", [report.claims_table(claims)]),
        Section("Protocol and versions", [_protocol(study, found)]),
    ]
    subtitle = f"A reproduction study of paper 004 (LED: CycleGAN and conditional diffusion), scale {study.scale_name}"
    return report.save(study.place / "report.html", report.page(TITLE, sections, subtitle=subtitle))


def _banner(study: Study) -> str:
    if not study.real:
        return report.warning(
            "**These are phantoms, not patients.** Every image was computed from a model of the chest. The figures show that the"
            " method works and compare methods with each other; they say nothing about real images."
        )
    message = (
        "**Enhanced images are generated images**: what they show may not be there, and no reader has judged any of them."
        " Phantoms, whose truth is known, stand beside X-rays of people"
    )
    judged = "both are judged by what is known of them" if study.main == REAL else "the classifier judges phantoms alone"
    scale = "" if study.scale_name == "paper" else (
        f" This is the **{study.scale_name}** scale: few images, smaller networks and shorter trainings than published; what can"
        " be read is how rows compare."
    )  # fmt: skip
    return report.note(f"{message}; {judged}.{scale}")


def answer(study: Study, found: Found) -> str:
    """What came out, in a few sentences, each as strong as its figures."""
    rows, gap, arm = found.judged["rows"], found.judged["gap"], ARMS[study.main]
    accuracy = {row: value(each["accuracy"]) for row, each in rows.items()}
    lines = [
        f"- A classifier is right on {accuracy['low']} of the low-quality images ({arm}), on {accuracy['led']} once LED enhanced"
        f" them, on {accuracy['cyclegan']} after CycleGAN alone, and on {accuracy['high']} of high-quality ones; of the gap LED"
        f" closes: {share(gap['led']['accuracy'])}."
    ]
    for name, each in found.restored.items():
        told = ", ".join(f"{tables.NAMES.get(row, row)} {cell('psnr', each['rows'][row]['psnr'])}" for row in each["rows"])
        lines.append(f"- PSNR against the truth, {ARMS[name]} (n = {each['n']}): {told}.")
    if found.counted["rows"]:
        led = found.counted["rows"]["led"]
        lines.append(f"- LED keeps {rate(led['kept'])} of the findings of phantoms and invents {rate(led['invented'])}.")
    for name, each in found.moved.items():
        lines.append(
            f"- Lungs of input and output, {ARMS[name]}: Dice {value(each['rows']['led']['dice'])} under LED,"
            f" {value(each['rows']['degraded']['dice'])} under the learnt degradation."
        )
    return "On patients that no stage has seen, intervals of 95%:\n\n" + "\n".join(lines)


def _pictures(arm: str, seen: Seen) -> list[str]:
    blocks = plots.pictures(arm, seen.test, seen.rows, seen.beside["deviation"])
    return [*blocks, plots.degraded(arm, seen.test, seen.beside["degraded"])]


def _anatomy(arm: str, seen: Seen, found: Mapping[str, Any]) -> list[str]:
    return [tables.anatomy(found, ruler=found["ruler"]), plots.worst(arm, seen.test, seen.rows, found)]


def _findings(study: Study, found: Mapping[str, Any]) -> str:
    return tables.findings(found) if found["rows"] else report.text(f"Not counted: {found['why']}.")


def _protocol(study: Study, found: Found) -> str:
    """What the figures depend on, and the versions."""
    m = configs.read(study.folder(study.main, "diffusion")).method
    tuned_on = "the known truth" if study.main == PHANTOM else "targets of the CycleGAN's pairs, where no truth is known"
    rows = [
        ("images", "whole test images at the size of training, [0, 1] by the range of the data, data_range 1; per image, then"
         " averaged"),
        ("SSIM", "Wang 2004: Gaussian 11x11, sigma 1.5, population covariance, valid windows"),
        ("intervals", "percentile bootstrap over images, 95%, 2,000 resamples, seed 0; shares by Clopper and Pearson; the AUC's"
         " DeLong's"),
        ("LED", f"y0 = f(x) by g_ab, {m.start} of {m.num_times} noising steps, refined by {m.sampler} in {m.steps} steps,"
         f" conditioned on x; mean and deviation of {study.scale.samples} draws"),
        ("classical rows", f"tuned for PSNR on {study.scale.tuned} validation images against {tuned_on}"),
        ("checkpoints", "each run's best by its own `train.best`"),
    ]  # fmt: skip
    versions = ", ".join(f"{name} {told}" for name, told in configs.versions().items())
    return report.table(("", ""), rows) + report.text(f"Versions: {versions}.")
