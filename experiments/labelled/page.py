"""The study's report: one page that answers what the paper leaves open, with everything the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.common import protocol_blocks
from experiments.labelled import plots, tables, tables_costs
from experiments.labelled.judged import Results, distance
from experiments.labelled.runs import SETS, Study
from experiments.labelled.verdicts import Found
from experiments.labelled.verdicts_paper import bound
from medjax import report
from medjax.build.data import Data
from medjax.metrics.markdown_sets import cell as counted
from medjax.metrics.markdown_sets import record, share
from medjax.report import Section, generation

TITLE = "Labelled chest X-rays from noise, and enlarged: what they are worth"


def build(study: Study, data: Mapping[str, Data], results: Results, found: Found, claims: Sequence[dict]) -> Path:
    """Write `report.html`; returns its path."""
    main, sizes = study.main, tuple(found.gap["sizes"])
    sections = [
        Section("", [_banner(study), report.text(answer(study, results, found))]),
        Section("What was run", [tables.facts(study, data)]),
        Section("How many images there are", tables.labels(found.counts)),
        Section("CLAHE (Figure 1)", [plots.figure_one(data["large"], found.clahe["size"]), tables.clahe(found.clahe)]),
        Section("Generated and real (Figure 3)", [plots.figure_three(study, data["large"], results.of(main))]),
        Section("The generators at a glance", [tables.overview(study, results), tables.classifiers(results)]),
        *[section for images in study.sets for section in _generator(images, results)],
        Section("The threshold of 0.9", [tables.threshold(found.threshold), *tables.commands(found.threshold, found.written)]),
        Section("Super-resolution of real images", tables.enlarged(found.enlarged, sizes)),
        Section("The gap between real and generated inputs", [*tables.gap(found.gap), *plots.enlargements(study)]),
        Section("What synthetic images are worth to a classifier", tables.utility(found.utility)),
        Section("Memory", tables_costs.memory(found.memory)),
        Section("Twelve hours", [tables_costs.training(found.cost)]),
        Section("Training", [block for run in results.rows for block in plots.training(results, run)]),
        Section("Claims of the paper", [report.claims_table(claims)]),
        Section("Protocol and versions", protocol_blocks(results.of(main))),
    ]
    subtitle = f"A reproduction study of paper 001 (CGAN and SRGAN on chest X-rays), scale {study.scale_name}"
    return report.save(study.place / "report.html", report.page(TITLE, sections, subtitle=subtitle))


def _banner(study: Study) -> str:
    if not study.real:
        return report.warning(
            "**These are phantoms, not patients.** Every real image here was computed from a model of the chest. The figures"
            " show that the method works and compare methods with each other; they say nothing about real images."
        )
    message = (
        "**Generated images show no patient**, and no reader has judged any of them. Phantoms, whose findings are known, stand"
        " beside NIH images, whose labels were mined from reports and go with brightness and view: whatever is said of a class"
        " of these must be read beside the mean grey level alone."
    )
    if study.scale_name != "paper":
        message += (
            f" This is the **{study.scale_name}** scale: few images, smaller networks and shorter trainings than published; what"
            " can be read is how rows compare."
        )
    return report.note(message)


def answer(study: Study, results: Results, found: Found) -> str:
    """What came out, in a few sentences, each as strong as its figures."""
    lines = [_generated(images, results) for images in study.sets]
    passed = found.threshold[study.main]["passed"]["all"]
    lines.append(f"- The threshold of 0.9 lets {share(passed)} of the images pass; an optimal discriminator {bound():.1%}.")
    gain = found.enlarged["gains"]["srgan minus bicubic"]["psnr"]
    key = next((k for k in found.gap["differences"] if k.startswith("kid/") and "/random" not in k), "")
    apart = record(found.gap["differences"].get(key))
    lines.append(
        f"- SRGAN has {gain['mean']:+.2f} dB over bicubic on held-out real images. After it generated images lie farther from"
        f" real ones than reduced real images do by {apart} (`{key}`)."
    )
    rows, arms = found.utility[study.main]["rows"], ("real", "synthetic", "both")
    auc = ", ".join(f"{row} {counted(rows[row]['auc'])}" for row in arms) + f"; mean grey level {counted(rows['grey']['auc'])}"
    lines.append(f"- AUC of a classifier on real images by what it was trained on: {auc}.")
    lines.append(f"- Memory: {found.memory['verdict']}, {found.memory['how']}.")
    return "Compared with held-out real images, intervals of 95%:\n\n" + "\n".join(lines)


def _generated(images: str, results: Results) -> str:
    summary = results.of(images)
    key, model = distance(summary)
    floor = distance(summary, row="real")[1]
    pooled = summary["diversity"].get("all") or next(iter(summary["diversity"].values()), {})
    copies, judged = next(iter(summary["memorisation"].values())), summary["classifier"]
    return (
        f"- {SETS[images]}: KID {record(model)} (real images {record(floor)}) over `{key.partition('/')[2] or 'nothing'}`; two"
        f" images of a class {record(pooled.get('ratio'))} times as alike as two real ones; {copies['ratio']:.2f} times as far"
        " from the nearest training image as held-out ones; the class asked for is seen with a balanced accuracy of"
        f" {counted(judged['model']['balanced_accuracy'])}, on held-out real images"
        f" {counted(judged['real']['balanced_accuracy'])}."
    )


def _generator(images: str, results: Results) -> list[Section]:
    """The parts of an evaluation that `medjax evaluate` reports too."""
    summary, evaluation = results.generators[images][0]
    name: Any = SETS[images]
    return [
        Section(f"Samples of {name}", generation.sample_blocks(summary, evaluation.examples)),
        Section(f"How far from real {name}?", generation.distance_blocks(summary)),
        Section(f"How many different {name}?", generation.diversity_blocks(summary)),
        Section(f"Copies of training images, {name}?", generation.copy_blocks(summary, evaluation)),
        Section(f"What is the discriminator worth, {name}?", generation.discriminator_blocks(summary)),
        Section(f"Does a classifier see the class asked for, {name}?", generation.classifier_blocks(summary)),
    ]
