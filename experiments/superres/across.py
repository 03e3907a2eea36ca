"""Another modality: each L1 phase on the images of the others, beside the enlargements that need no training."""

from __future__ import annotations

from typing import Any

from experiments.scoring import judged
from experiments.superres.runs import RUNS, Opened, Study, config_of
from experiments.superres.scores import Results, asked_of, by_patient
from medjax.build import evaluation as build_evaluation
from medjax.metrics import statistics

METRICS = ("psnr", "ssim")


def runs_of(opened: Opened) -> list[str]:
    """The L1 phases at x4, one for each modality."""
    return [run for run in opened.runs if not RUNS[run].after and RUNS[run].factor == 4]


def measure(study: Study, opened: Opened, results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """{trained on: {tested on: {metric: gain over bicubic, paired by patient; "psnr_mean": ...}}}, kept or scored."""
    chosen, found = runs_of(opened), {}
    for run in chosen:
        found[run] = {}
        for other in chosen:
            pairs, config = RUNS[other].pairs, config_of(study, other)
            if other == run:
                evaluation = results.evaluations[run][0]
            else:
                load = lambda run=run: build_evaluation.load(study.folder(run), which="latest")  # noqa: E731
                asked = asked_of(study, config) | {"feature_networks": (), "params": {}, "keep": 1}
                evaluation = judged(load, config, opened.of(other), study.workdir / "across" / f"{run}_on_{other}", **asked)[1]
            gains = {}
            for metric in METRICS:
                values = by_patient(evaluation, "model", metric)
                gains[metric] = statistics.compare(values, results.of(pairs, "bicubic", metric))
                gains[f"{metric}_mean"] = statistics.summary(values)
            found[run][other] = gains
    return found
