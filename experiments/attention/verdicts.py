"""Every claim of paper 000, judged: one row each, in the paper's order of importance."""

from __future__ import annotations

from typing import Any

from experiments.attention import verdicts_design, verdicts_images, verdicts_training
from experiments.attention.runs import Study
from experiments.attention.scores import Results
from experiments.claims import Claim
from medjax.build.data import Data


def all_claims(
    study: Study, data: Data, results: Results, costs: dict[str, Any], audit: dict[str, Any]
) -> list[Claim]:
    """The claims on images, on the design, and on training and its cost."""
    return [
        *verdicts_images.claims(study, data, results, audit),
        *verdicts_design.claims(),
        *verdicts_training.claims(study, results, costs),
    ]
