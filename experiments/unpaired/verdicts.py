"""Every claim of paper 004, judged: one row each, in the order of the audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.claims import Claim
from experiments.unpaired import verdicts_images, verdicts_paper
from experiments.unpaired.runs import Study, config_of
from experiments.unpaired.scales import REAL
from medjax.diffusion import make_schedule

ROW = "led"  # one sample: what LED gives


@dataclass
class Found:
    """What the stages measured: of the arm that a classifier judges, but `moved` and `balance`, which are by arm; restored: None
    where no truth is known.
    """

    judged: dict[str, Any]
    placed: dict[str, Any]
    counted: dict[str, Any]
    ablation: dict[str, Any]
    restored: dict[str, dict[str, Any]]
    moved: dict[str, dict[str, Any]]
    balance: dict[str, dict[str, Any]]


def all_claims(study: Study, found: Found) -> list[Claim]:
    """Fifteen rows."""
    moved = found.moved
    return [
        verdicts_paper.closed_gap(),
        verdicts_images.improves(found.judged, row=ROW, real=study.main == REAL),
        verdicts_paper.table_rows(),
        verdicts_paper.significance(),
        verdicts_paper.leak(),
        verdicts_images.preserved(found.judged, row=ROW, anatomy=moved[study.main]["rows"], findings=found.counted["rows"]),
        verdicts_paper.exposure(_exposure(study, found.judged)),
        verdicts_paper.settings(),
        verdicts_paper.trainable(),
        verdicts_images.condition(found.ablation["condition"], found.ablation["of"]),
        _start(study, found.ablation["starts"]),
        verdicts_paper.formulas(),
        verdicts_paper.resampling(),
        verdicts_paper.data_sets(),
        verdicts_images.hallucination(moved[study.shown]["rows"], row=ROW, backwards="degraded", real=study.shown == REAL),
    ]


def _start(study: Study, starts: dict[str, Any]) -> Claim:
    """What a start is worth, beside the signal that the schedule of the model measured leaves there."""
    m = config_of(study, study.main, "diffusion").method
    left = 10 / np.log(10) * make_schedule(m.schedule, m.num_times).log_snr
    return verdicts_paper.start({t: {**row, "signal": float(left[int(t) - 1])} for t, row in starts.items()}, m.schedule)


def _exposure(study: Study, judged: dict[str, Any]) -> dict[str, Any] | None:
    """What exposure tells apart, where the pools were dealt by it."""
    c = config_of(study, study.main, "cyclegan").data
    if c.source != "padchest":
        return None
    low, high = (judged["rows"][row] for row in ("low", "high"))
    bounds = f"low {list(c.padchest.low_exposure)}, high {list(c.padchest.high_exposure)}"
    return {"threshold": bounds, "auc": (high["auc"]["mean"], low["auc"]["mean"]), "n": low["n"]}
