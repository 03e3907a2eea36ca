"""Scores by image, and the files that keep them: `evaluation.json`, `evaluation.csv` (a row per image), `examples.npz`."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medjax.files import replace
from medjax.types import DataError


@dataclass
class Evaluation:
    """Scores by image, in the order of `names`.

    scores: `{row: {metric: float64 [n]}}`, rows `input`, the baselines, `model`; columns: `{column: [n]}` (patient,
    sex, ...); uncertainty: `{name: [n]}` of the standard-deviation maps, and their mean curves in `sparsification`;
    examples: arrays `[k, H, W, C]` in [0, 1] under source (of fewer pixels where the model enlarges), target, model,
    best_baseline, of super-resolution bicubic, and other trained models' rows (l1, ...), with `names`, `ranks` and `baseline`.
    """

    names: list[str]
    scores: dict[str, dict[str, np.ndarray]]
    columns: dict[str, list] = field(default_factory=dict)
    uncertainty: dict[str, np.ndarray] = field(default_factory=dict)
    sparsification: dict[str, list[float]] = field(default_factory=dict)
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def write(evaluation: Evaluation, directory: str | Path, *, summary: Mapping[str, Any]) -> None:
    """Write `evaluation.json` (`summary`, from `summarise`), `evaluation.csv` and `examples.npz`, each in one rename.

    The CSV has a row per image: name, the columns, then `row.metric` (and `uncertainty.name`) values.
    """
    (directory := Path(directory)).mkdir(parents=True, exist_ok=True)
    fields = {"name": evaluation.names, **evaluation.columns}
    for row, metrics in {**evaluation.scores, "uncertainty": evaluation.uncertainty}.items():
        fields |= {f"{row}.{metric}": [repr(float(v)) for v in values] for metric, values in metrics.items()}
    text, examples = io.StringIO(newline=""), io.BytesIO()
    writer = csv.writer(text)
    writer.writerow(fields)
    writer.writerows(zip(*fields.values(), strict=True))
    np.savez_compressed(examples, **evaluation.examples)
    replace(directory / "examples.npz", examples.getvalue())
    replace(directory / "evaluation.csv", text.getvalue().encode())
    replace(directory / "evaluation.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def read(directory: str | Path) -> tuple[dict[str, Any], Evaluation]:
    """What `write` wrote: the summary, and the evaluation with its columns as text. DataError names a missing file."""
    directory = Path(directory)
    try:
        summary = json.loads((directory / "evaluation.json").read_text())
        with open(directory / "evaluation.csv", newline="") as file:
            header, *lines = csv.reader(file)
        with np.load(directory / "examples.npz", allow_pickle=False) as arrays:
            examples = {name: arrays[name] for name in arrays.files}
        if not isinstance(summary, dict) or not isinstance(summary.get("rows"), dict):
            raise DataError(f"{directory} holds no complete evaluation: evaluation.json has no rows")
        return summary, _evaluation(summary, header, lines, examples)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{directory} holds no complete evaluation: {error}") from error


def _evaluation(summary: dict[str, Any], header: list[str], lines: list[list[str]], examples: dict[str, Any]) -> Evaluation:
    values = dict(zip(header, zip(*lines, strict=True), strict=True))
    curves, notes = summary.get("uncertainty", {}).get("sparsification", {}), summary.get("warnings", [])
    names = list(values.pop("name"))
    evaluation = Evaluation(names, {}, sparsification=curves, examples=examples, warnings=list(notes))
    for name, column in values.items():
        row, _, metric = name.partition(".")
        if metric and row in (*summary["rows"], "uncertainty"):
            into = evaluation.uncertainty if row == "uncertainty" else evaluation.scores.setdefault(row, {})
            into[metric] = np.array(column, np.float64)
        else:
            evaluation.columns[name] = list(column)
    return evaluation
