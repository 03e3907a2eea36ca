"""Every claim of paper 003, judged: one row each, in the order of the audit, whose last row is told apart in three."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.claims import Claim
from experiments.superres import verdicts_images, verdicts_paper
from experiments.superres.runs import Opened, Study
from experiments.superres.scores import Results


@dataclass
class Found:
    """What the stages beside the scores measured: see the modules of these names."""

    targets: dict[str, Any]
    across: dict[str, Any]
    speed: dict[str, Any]
    alone: list[dict[str, Any]]
    draws: dict[str, Any]


def all_claims(study: Study, opened: Opened, results: Results, found: Found) -> list[Claim]:
    """Eleven rows."""
    return [
        verdicts_images.above_bicubic(study, results),
        verdicts_paper.plausibility(study, found.targets),
        verdicts_images.adversarial(study, results),
        verdicts_images.distance(study, results),
        verdicts_paper.filtering(study, found.targets),
        verdicts_images.accuracy(study, results),
        verdicts_paper.generator_input(found.draws),
        verdicts_paper.settings(study, opened, found.targets),
        verdicts_images.artefacts(study, results),
        verdicts_paper.extent(study, opened, results),
        verdicts_paper.light(study, results, found.speed, found.alone),
    ]
