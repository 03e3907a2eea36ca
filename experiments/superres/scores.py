"""What the runs are worth on images they have not seen, beside classical enlargements, and mixed with their first phase.

Images of one patient are not independent, so a patient counts once: the images are averaged first, and means, intervals and
tests are over patients. Results lie in each run's workdir; what is there is read back.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.scoring import networks_of, outputs, score
from experiments.superres.curves import FILE, few
from experiments.superres.runs import RUNS, Opened, Study, config_of
from medjax import evaluate
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.files import replace
from medjax.metrics import hypothesis, lpips, statistics, tables
from medjax.types import to_unit
from medjax.weights import DRAWN, drawn
from medjax.writers import read_metrics

COLUMNS = ("patient", "modality", "sex", "age", "view")
EVERY = 1 << 30
CLASSICAL = ("nearest", "bilinear", "bicubic", "lanczos")
MIXED = "interpolated"
RANDOM = "lpips_random"
TABLED = ("psnr", "ssim", "ms_ssim", "gms", RANDOM)  # of each image in images.csv
TRAINED = "training_images"


@dataclass
class Results:
    """What the runs are worth.

    evaluations, summaries, rows (of metrics.jsonl), curves: {run: one for each seed}; outputs: {run: {record number: image}} of
    the first seed; mixed: {second phase: {its share: (summary, evaluation)}}; trained: {run: evaluation} on training images.
    """

    evaluations: dict[str, list[evaluate.Evaluation]] = field(default_factory=dict)
    summaries: dict[str, list[dict]] = field(default_factory=dict)
    rows: dict[str, list[list[dict]]] = field(default_factory=dict)
    curves: dict[str, list[list[dict]]] = field(default_factory=dict)
    outputs: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    mixed: dict[str, dict[float, tuple[dict, evaluate.Evaluation]]] = field(default_factory=dict)
    trained: dict[str, evaluate.Evaluation] = field(default_factory=dict)

    def first(self, pairs: str) -> str:
        """The run whose evaluation holds the classical rows of these images."""
        return next(run for run in self.evaluations if RUNS[run].pairs == pairs)

    def gan(self, pairs: str) -> str:
        """The second phase on these images, "" where there is none."""
        return next((run for run in self.evaluations if RUNS[run].pairs == pairs and RUNS[run].after), "")

    def rows_of(self, pairs: str) -> list[str]:
        """Every row of the table of these images, in order."""
        rows = [*CLASSICAL, *(run for run in self.evaluations if RUNS[run].pairs == pairs)]
        return [*rows, MIXED] if self.mixed.get(self.gan(pairs)) else rows

    def evaluation(self, pairs: str, row: str) -> tuple[evaluate.Evaluation, str]:
        """Where the first seed's scores of a row are: an evaluation, and the row's name in it."""
        if row == MIXED:
            return self.mixed[self.gan(pairs)][share_of(self.mixed[self.gan(pairs)])][1], "model"
        return (self.evaluations[row][0], "model") if row in RUNS else (self.evaluations[self.first(pairs)][0], row)

    def of(self, pairs: str, row: str, metric: str) -> np.ndarray:
        """Per test patient `[n]`, of a run the mean over its seeds."""
        if row in RUNS:
            return np.mean([by_patient(e, "model", metric) for e in self.evaluations[row]], axis=0)
        return by_patient(*self.evaluation(pairs, row), metric)

    def mean(self, pairs: str, row: str, metric: str) -> dict[str, Any]:
        """Mean, standard deviation, interval and n over patients."""
        return statistics.summary(self.of(pairs, row, metric))

    def versus(self, pairs: str, row: str, other: str, metric: str) -> dict[str, Any]:
        """`row` minus `other`, paired by patient: mean, interval, p (sign flips, Wilcoxon), share on which it is higher."""
        a, b = self.of(pairs, row, metric), self.of(pairs, other, metric)
        return statistics.compare(a, b) | {"wilcoxon": hypothesis.wilcoxon(a, b)["p_value"]}

    def record(self, pairs: str, row: str) -> dict[str, dict[str, Any]]:
        """Distances over features of a row's images to their targets, {key: record}, first seed."""
        if row == MIXED:
            summary = self.mixed[self.gan(pairs)][share_of(self.mixed[self.gan(pairs)])][0]
        else:
            summary = self.summaries[row if row in RUNS else self.first(pairs)][0]
        return summary.get("features", {}).get("model" if row in (*RUNS, MIXED) else row, {})


def share_of(mixed: dict[float, Any]) -> float:
    """The share of the second phase in the row `interpolated`: the published 0.8, or the nearest that was scored."""
    return min(mixed, key=lambda share: abs(share - 0.8))


def by_patient(evaluation: evaluate.Evaluation, row: str, metric: str) -> np.ndarray:
    """Means over the images of each patient `[n]`, in order of appearance."""
    values, _ = tables.per_unit({row: {metric: evaluation.scores[row][metric]}}, evaluation.columns["patient"])
    return values[row][metric]


@functools.cache
def random_lpips() -> dict[str, Callable]:
    """A distance of the form of LPIPS over a network that nobody trained, every channel alike; always at hand, {name: metric}."""
    network = DRAWN["random_alexnet"]
    return {RANDOM: lpips.lpips(network.features(drawn(network)), network.layers)}


def gather(study: Study, opened: Opened) -> Results:
    """Score every run, or read its scores."""
    results = Results()
    for run in opened.runs:
        config, data = config_of(study, run), opened.of(run)
        first = run == next(iter(opened.on(RUNS[run].pairs)))
        params = build_evaluation.tuned_baselines(config, data, progress=study.progress) if first else {}
        for seed in range(study.seeds):
            folder = study.folder(run, seed)
            asked = asked_of(study, config) | {"params": params if seed == 0 else {}, "keep": EVERY if seed == 0 else 1}
            summary, scored = score(folder, data, folder, **asked)
            results.evaluations.setdefault(run, []).append(scored)
            results.summaries.setdefault(run, []).append(summary)
            results.rows.setdefault(run, []).append(read_metrics(folder))
            results.curves.setdefault(run, []).append(read_metrics(folder / FILE))
        results.outputs[run] = outputs(study.folder(run))
        if RUNS[run].network == "main" and RUNS[run].factor == 4:
            part, folder = few(data, "train", study.scale.trained), study.folder(run)
            asked = asked_of(study, config) | {"params": params, "keep": 1, "feature_networks": (), "split": "train"}
            results.trained[run] = score(folder, part, folder / TRAINED, **asked)[1]
    return results


def asked_of(study: Study, config: Any) -> dict[str, Any]:
    """What every scoring of the study is asked for."""
    return {"progress": study.progress, "columns": COLUMNS, "feature_networks": networks_of(config), "metrics": random_lpips()}


def write_images(results: Results, opened: Opened, path: Any) -> None:
    """`images.csv`: every metric of `TABLED` of every test image by every row, first seed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("images", "name", "patient", "row", *TABLED))
    for pairs in opened.data:
        for row in results.rows_of(pairs):
            evaluation, name = results.evaluation(pairs, row)
            columns = (evaluation.scores[name][metric] for metric in TABLED)
            for image, patient, *values in zip(evaluation.names, evaluation.columns["patient"], *columns, strict=True):
                writer.writerow((pairs, image, patient, row, *(f"{v:.6g}" for v in values)))
    replace(path, text.getvalue().encode())


def images(study: Study, data: build_data.Data, run: str, wanted: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """{record number: (input [h, w, 1], reference [H, W, 1])} of test images as they were scored, in [0, 1]."""
    part = build_data.Data(data.source, {"test": np.asarray(wanted)}, data.degradation, data.root)
    found = {}
    for batch in build_data.eval_batches(config_of(study, run), part, "test", batch_size=1):
        found[int(batch["index"][0])] = to_unit(batch["source"][0]), to_unit(batch["target"][0])
    return found
