"""Scores of every run on the test images, under the metric protocol, image by image, so that runs compare in pairs.

The weights scored are those after the last epoch: the runs are compared at equal training, and none picks its moment.
Results lie in each run's workdir as `medjax evaluate` would write them; what is there is read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.attention.runs import RUNS, Study, config_of
from experiments.common import kept
from experiments.scoring import networks_of, outputs, score
from medjax import evaluate
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.metrics import hypothesis, statistics
from medjax.types import to_unit
from medjax.writers import read_metrics


@dataclass
class Results:
    """What the runs are worth. evaluations, summaries, rows (of metrics.jsonl): {run: one for each seed}.

    outputs: {run: {record number: image [H, W, 1] in [0, 1]}} of the first seed; params: the classical denoisers'.
    """

    evaluations: dict[str, list[evaluate.Evaluation]] = field(default_factory=dict)
    summaries: dict[str, list[dict]] = field(default_factory=dict)
    rows: dict[str, list[list[dict]]] = field(default_factory=dict)
    outputs: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The images scored."""
        return self.evaluations["baseline"][0].names

    def of(self, run: str, metric: str) -> np.ndarray:
        """Per image `[n]`: of a run the mean over its seeds, or of the input or a classical row."""
        if run in RUNS:
            return np.mean([e.scores["model"][metric] for e in self.evaluations[run]], axis=0)
        return self.evaluations["baseline"][0].scores[run][metric]

    def classical(self) -> list[str]:
        """The rows of classical denoisers, in the protocol's order."""
        return [row for row in self.evaluations["baseline"][0].scores if row not in ("input", "model")]

    def best_classical(self) -> str:
        """The classical row with the highest mean PSNR on these images."""
        return max(self.classical(), key=lambda row: self.of(row, "psnr").mean())

    def table(self) -> dict[str, str]:
        """{row: label} of Table 1: the input, the classical denoisers, the runs."""
        from medjax.figures import NAMES

        names = {row: NAMES.get(row, row) for row in ("input", *self.classical())}
        return {**names, **{run: RUNS[run].label for run in self.evaluations}}

    def mean(self, run: str, metric: str) -> dict[str, Any]:
        """Mean, standard deviation, interval and n of a row."""
        return statistics.summary(self.of(run, metric))

    def versus(self, run: str, other: str, metric: str) -> dict[str, Any]:
        """`run` minus `other`, paired by image: mean, interval, p (sign flips, Wilcoxon), share on which it is higher."""
        a, b = self.of(run, metric), self.of(other, metric)
        return statistics.compare(a, b) | {"wilcoxon": hypothesis.wilcoxon(a, b)["p_value"]}


def gather(study: Study, data: build_data.Data) -> Results:
    """Score every run on the test split, or read its scores."""
    config = config_of(study, "baseline")
    tune = lambda: build_evaluation.tuned_baselines(config, data, progress=study.progress)  # noqa: E731
    results = Results(params=kept(study.workdir / "baselines.json", tune))
    for run in study.scale.runs:
        for seed in range(study.seeds):
            folder = study.folder(run, seed)
            params = results.params if (run, seed) == ("baseline", 0) else {}
            asked = {"params": params, "progress": study.progress, "feature_networks": networks_of(config)}
            summary, scored = score(folder, data, folder, **asked)
            results.evaluations.setdefault(run, []).append(scored)
            results.summaries.setdefault(run, []).append(summary)
            results.rows.setdefault(run, []).append(read_metrics(folder))
        results.outputs[run] = outputs(study.folder(run))
    return results


def pairs(study: Study, data: build_data.Data, wanted: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """{record number: (degraded, reference)} in [0, 1], as they were scored."""
    found = {}
    for batch in build_data.eval_batches(config_of(study, "baseline"), data, "test"):
        for i, source, target in zip(batch["index"].tolist(), batch["source"], batch["target"], strict=True):
            if i in wanted:
                found[i] = to_unit(source), to_unit(target)
        if len(found) == len(set(wanted)):
            break
    return found
