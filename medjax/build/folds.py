"""Cross-validation for small sets: one run for each fold, and one table in which every patient is tested on once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax import evaluate
from medjax.build import config as configs
from medjax.build import evaluation as build_evaluation
from medjax.build import training
from medjax.types import ConfigError, DataError


def train(config: ConfigDict, workdir: str | Path, folds: int, *, say: Callable[[str], None] = print) -> None:
    """`folds` runs in `workdir/fold_0`, `fold_1`, ...: each tests on one part of the patients and validates on the next.

    Raises ConfigError for fewer than 3 folds, DataError for fewer patients than folds.
    """
    if folds < 3:
        raise ConfigError(f"--folds must be at least 3, to train, validate and test on, not {folds}")
    for fold in range(folds):
        copy = config.copy_and_resolve_references()
        copy.data.folds, copy.data.fold = folds, fold
        say(f"fold {fold} of {folds}")
        training.train(copy, Path(workdir) / f"fold_{fold}", say=say)


def folds_of(workdir: str | Path) -> list[Path]:
    """The runs of a folder that `train` filled, in order; none where it is another kind of folder."""
    found = Path(workdir).glob("fold_*/config.json")
    return sorted((path.parent for path in found), key=lambda path: int(path.name.removeprefix("fold_")))


def score(workdir: str | Path, *, by: str | None = None, output: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """Score every fold's run on its own test patients, then all of them in one table, written to `output` or `workdir`.

    options: as for `evaluation.score_run`. Raises DataError where a fold is missing or a patient is tested on twice.
    """
    if options.pop("split", "test") != "test" or options.get("data_source"):
        raise ConfigError("folds are judged on the test patients of each; evaluate one of its runs for other images")
    runs = folds_of(workdir)
    wanted = configs.read(runs[0]).data.folds
    if [path.name for path in runs] != [f"fold_{fold}" for fold in range(wanted)]:
        raise DataError(f"{workdir} holds {len(runs)} of {wanted} folds; train the others first")
    summaries, parts = [], []
    for run in runs:
        place = Path(output) / run.name if output else run
        summaries.append(build_evaluation.score_run(run, output=place, by=by, **options))
        parts.append(evaluate.read(place)[1])
    pooled = joined(parts)
    first = summaries[0]
    protocol = {name: value for name, value in first["protocol"].items() if name not in ("averaging", "interval")} | {
        "folds": f"{wanted}: every patient is tested on once, by the run that has not seen him",
        "baselines": {run.name: summary["protocol"]["baselines"] for run, summary in zip(runs, summaries, strict=True)},
    }
    told = {"protocol": protocol, "dataset": first["dataset"], "split": f"test of {wanted} folds"}
    if any(summary["features"] for summary in summaries):
        pooled.warnings.append("distances over features are of sets, and stand in each fold's own evaluation alone")
    summary = evaluate.summarise(pooled, by=by, **told)
    summary |= {"features": {}, "features_absent": first["features_absent"], "versions": first["versions"]}
    evaluate.write(pooled, Path(output or workdir), summary=summary)
    return summary


def joined(parts: Sequence[evaluate.Evaluation]) -> evaluate.Evaluation:
    """The images of all folds as those of one evaluation. Raises DataError for an image that is in two."""
    names = [name for part in parts for name in part.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{len(twice)} images are tested on in two folds, among them {twice[0]}")
    scores = {
        row: {metric: np.concatenate([part.scores[row][metric] for part in parts]) for metric in metrics}
        for row, metrics in parts[0].scores.items()
    }
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    worst = min(parts, key=lambda part: float(np.nanmean(part.scores["model"][next(iter(part.scores["model"]))])))
    maps = {name: np.concatenate([part.uncertainty[name] for part in parts]) for name in parts[0].uncertainty}
    curves = {name: np.mean([part.sparsification[name] for part in parts], axis=0).tolist() for name in parts[0].sparsification}
    notes = list(dict.fromkeys(note for part in parts for note in part.warnings))
    return evaluate.Evaluation(names, scores, columns, maps, curves, worst.examples, notes)
