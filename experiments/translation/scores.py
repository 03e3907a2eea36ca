"""What the runs are worth on subjects they have not seen, on slices they were trained on, and on another population.

Slices of one subject are not independent, so a subject counts once: its slices are averaged first, and means, intervals
and comparisons are over subjects. Results lie in each run's workdir; what is there is read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.common import kept
from experiments.scoring import networks_of, outputs, score
from experiments.translation.runs import LEGS, RUNS, Study, config_of, thinned
from medjax import evaluate
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.metrics import hypothesis, statistics, tables
from medjax.types import DataError, to_unit
from medjax.writers import read_metrics

COLUMNS = ("patient", "position_mm", "sex", "age")
EVERY = 1 << 30
REFERENCES = ("input", "linear", "monotone")
TRAINED, OTHERS = "training_slices", "another_population"


@dataclass
class Results:
    """What the runs are worth.

    evaluations, summaries, rows (of metrics.jsonl): {run: one for each seed}, on test subjects; legs: {leg: evaluation} of the
    published run; trained, others: {run: evaluation} on training slices and on another population; outputs: {run: {record
    number: image [H, W, 1] in [0, 1]}} of the first seed; images: {record number: (source, target, region)} of the main
    run's test split; draws, changes: see `spread`.
    """

    evaluations: dict[str, list[evaluate.Evaluation]] = field(default_factory=dict)
    summaries: dict[str, list[dict]] = field(default_factory=dict)
    rows: dict[str, list[list[dict]]] = field(default_factory=dict)
    legs: dict[str, evaluate.Evaluation] = field(default_factory=dict)
    trained: dict[str, evaluate.Evaluation] = field(default_factory=dict)
    others: dict[str, evaluate.Evaluation] = field(default_factory=dict)
    no_others: str = ""
    outputs: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    images: dict[int, tuple[np.ndarray, ...]] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    draws: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """The test subjects, in the order of `of`."""
        return by_subject(self.evaluations["main"][0], "model", "psnr")[1]

    def of(self, row: str, metric: str) -> np.ndarray:
        """Per test subject `[n]`: of a run the mean over its seeds, or of the input or an intensity map."""
        if row in RUNS:
            return np.mean([by_subject(e, "model", metric)[0] for e in self.evaluations[row]], axis=0)
        return by_subject(self.evaluations["main"][0], row, metric)[0]

    def mean(self, row: str, metric: str) -> dict[str, Any]:
        """Mean, standard deviation, interval and n over subjects."""
        return statistics.summary(self.of(row, metric))

    def versus(self, row: str, other: str, metric: str) -> dict[str, Any]:
        """`row` minus `other`, paired by subject: mean, interval, p (sign flips, Wilcoxon), share on which it is higher."""
        a, b = self.of(row, metric), self.of(other, metric)
        return statistics.compare(a, b) | {"wilcoxon": hypothesis.wilcoxon(a, b)["p_value"]}

    def best_map(self) -> str:
        """What a model must beat: the row without a network that is best inside the head."""
        return max(REFERENCES, key=lambda row: float(self.of(row, "psnr_inside").mean()))


def by_subject(evaluation: evaluate.Evaluation, row: str, metric: str) -> tuple[np.ndarray, list[str]]:
    """Means over the slices of each subject `[n]`, and the subjects."""
    values, subjects = tables.per_unit({row: {metric: evaluation.scores[row][metric]}}, evaluation.columns["patient"])
    return values[row][metric], subjects


def gather(study: Study, data: dict[str, build_data.Data]) -> Results:
    """Score every run, or read its scores."""
    results = Results()
    for run in study.runs:
        fit = lambda run=run: build_evaluation.tuned_baselines(  # noqa: E731
            config_of(study, run), data[run], progress=study.progress
        )
        # The maps of intensity depend on the images alone: fitted once for all runs that share them.
        key = RUNS[run].arm
        results.params[run] = kept(study.workdir / f"maps_{key}.json", fit) if run in ("main", "phantom", "digits") else {}
        for seed in range(study.seeds):
            folder = study.folder(run, seed)
            params = results.params[run] if seed == 0 else {}
            asked = {"params": params, "progress": study.progress, "columns": COLUMNS, "keep": EVERY}
            networks = networks_of(config_of(study, run)) if run in study.compared else ()
            summary, scored = score(folder, data[run], folder, feature_networks=networks, **asked)
            results.evaluations.setdefault(run, []).append(scored)
            results.summaries.setdefault(run, []).append(summary)
            results.rows.setdefault(run, []).append(read_metrics(folder))
        results.outputs[run] = outputs(study.folder(run))
    _legs(study, data["published"], results)
    _trained(study, data, results)
    _others(study, results)
    results.images = images_of(study, "main", data["main"])
    return results


def _legs(study: Study, data: build_data.Data, results: Results) -> None:
    for leg in LEGS:
        folder = study.folder("published", 0, leg)
        options = {"params": {}, "progress": study.progress, "columns": COLUMNS, "keep": EVERY}
        results.legs[leg] = score(folder, data, folder, **options)[1]
        results.outputs[f"published {leg}"] = outputs(folder)


def _trained(study: Study, data: dict[str, build_data.Data], results: Results) -> None:
    """The paper's own protocol: scored on slices that were trained on."""
    for run in study.compared:
        few, folder = thinned(data[run], "train", study.scale.thin), study.folder(run)
        params = results.params["main"] if run == "main" else {}
        options = {"params": params, "progress": study.progress, "columns": COLUMNS, "keep": 1}
        results.trained[run] = score(folder, few, folder / TRAINED, split="train", **options)[1]


def _others(study: Study, results: Results) -> None:
    """The subjects that the training left out by name: another population, on canvases that fit their heads."""
    if not (study.real and study.chosen):
        results.no_others = "simulated heads are one population" if not study.real else "no subject is left out by name"
        return
    for run in study.compared:
        config = config_of(study, run)
        config.data.mri_pairs.update(subjects="", exclude=study.chosen, fov_mm=0.0)
        try:
            source, root = build_data.open_source(config)
        except DataError as error:
            results.no_others = str(error)
            return
        few = thinned(build_data.Data(source, {"test": np.arange(len(source))}, None, root), "test", study.scale.thin)
        params = results.params["main"] if run == "main" else {}
        options = {"params": params, "progress": study.progress, "columns": COLUMNS, "keep": 1}
        results.others[run] = score(study.folder(run), few, study.folder(run) / OTHERS, **options)[1]


def images_of(study: Study, run: str, data: build_data.Data) -> dict[int, tuple[np.ndarray, ...]]:
    """{record number: (source, target, region) [H, W, 1]} of a run's test split as it was scored, in [0, 1]."""
    found = {}
    for batch in build_data.eval_batches(config_of(study, run), data, "test"):
        parts = (evaluate.middle(to_unit(batch["source"]), 1), to_unit(batch["target"]), batch["region"])
        for i, index in enumerate(batch["index"].tolist()):
            found[index] = tuple(part[i] for part in parts)
    return found


def stacks(data: build_data.Data, indices: Any) -> dict[str, list[int]]:
    """{subject: record numbers} of the records `indices`, each subject's slices in order of position."""
    found: dict[str, list[int]] = {}
    records = data.source.records
    for i in sorted((int(i) for i in indices), key=lambda i: float(records[i].extra["position_mm"])):
        found.setdefault(records[i].patient, []).append(i)
    return found
