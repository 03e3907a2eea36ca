"""Generators and classifiers judged on held-out images, by the evaluation that `medjax evaluate` runs. What is there is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.labelled.runs import JUDGES, Study
from medjax import results
from medjax.build import evaluation
from medjax.writers import read_metrics

Scored = tuple[dict[str, Any], results.Evaluation]


@dataclass
class Results:
    """By set: `generators` one for each seed, `classifiers`; rows: {run: of metrics.jsonl}."""

    generators: dict[str, list[Scored]] = field(default_factory=dict)
    classifiers: dict[str, Scored] = field(default_factory=dict)
    rows: dict[str, list[dict]] = field(default_factory=dict)

    def of(self, images: str) -> dict[str, Any]:
        """The summary of the first generator of a set."""
        return self.generators[images][0][0]


def gather(study: Study) -> Results:
    """Score every generator with the classifier of its set as a judge, and every classifier, or read their scores."""
    found = Results()
    for images in study.sets:
        judge = study.classifier(images)
        place, asked = study.place / "evaluations", {"classifier": judge, "progress": study.progress}
        if JUDGES[images] == images:
            found.classifiers[images] = scored(judge, place / f"classifier_{images}", progress=study.progress)
        found.generators[images] = [
            scored(study.gan(images, seed), place / f"cgan_{images}" / f"seed_{seed}", **asked) for seed in range(study.seeds)
        ]
    found.rows = {name: read_metrics(study.folder(name)) for name in study.runs}
    return found


def scored(run: Path, output: Path, **asked: Any) -> Scored:
    """The best checkpoint of a run on its test split, kept in `output`."""
    if not (output / "evaluation.json").exists():
        evaluation.score_run(run, output=output, **asked)
    return results.read(output)


def distance(summary: Mapping[str, Any], metric: str = "kid", *, row: str = "model") -> tuple[str, dict[str, Any] | None]:
    """The first record of a metric over a network that somebody trained, else over any: (its key, the record of `row`); None
    where none was measured.
    """
    for key in keys_of(summary, metric):
        record = summary["features"].get(row, {}).get(key)
        if record and record.get("value") is not None:
            return key, record
    return "", None


def keys_of(summary: Mapping[str, Any], metric: str = "kid") -> list[str]:
    """The keys under which a metric was measured of generated images, networks that nobody trained last."""
    rows = summary["features"].get("model", {})
    found = [key for key, record in rows.items() if key.partition("/")[0] == metric and record.get("value") is not None]
    return sorted(found, key=lambda key: "/random" in key)
