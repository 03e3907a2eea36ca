"""Every claim of paper 001, judged: one row each, in the order of the audit, with what else the paper says of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.claims import Claim
from experiments.labelled import verdicts_images, verdicts_paper
from experiments.labelled.judged import Results
from experiments.labelled.runs import Study
from medjax.build import config as configs


@dataclass
class Found:
    """What the stages measured: see the modules of these names; threshold, written and utility are by set of images."""

    counts: dict[str, Any]
    threshold: dict[str, dict[str, Any]]
    written: dict[str, dict[str, Any]]
    enlarged: dict[str, Any]
    gap: dict[str, Any]
    utility: dict[str, dict[str, Any]]
    memory: dict[str, Any]
    cost: dict[str, Any]
    clahe: dict[str, Any]


def all_claims(study: Study, results: Results, found: Found) -> list[Claim]:
    """Sixteen rows."""
    images, summary = study.main, results.of(study.main)
    return [
        verdicts_paper.pneumonia(found.counts),
        verdicts_paper.mass(found.counts),
        verdicts_paper.no_finding(found.counts),
        verdicts_paper.data_set(found.counts),
        verdicts_images.threshold(study, found.threshold[images]),
        verdicts_images.speed(study, found.threshold[images], found.written[f"{images}_enlarged"]),
        verdicts_paper.training_time(found.cost),
        verdicts_paper.memory(found.memory),
        verdicts_images.gap(study, found.gap),
        verdicts_images.collapse(study, summary, configs.read(study.gan(images)).discriminator.dropout),
        verdicts_paper.figure_three(found.threshold[images]),
        verdicts_images.realistic(study, summary),
        verdicts_images.useful(study, found.utility[images]),
        verdicts_images.privacy(study, summary),
        verdicts_paper.citations(),
        verdicts_images.equalisation(study, found.clahe),
    ]
