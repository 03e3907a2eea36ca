"""Metrics of a model and of the classical baselines over a split, under one protocol, image by image.

`evaluate` scores, `summarise` makes what `evaluation.json` holds, `write` and `read` keep it beside `evaluation.csv` (a
row per image) and `examples.npz`. Batches come in and `predict` gives images in [-1, 1]; scores, baselines and examples
are in [0, 1]. Nothing here knows a model or a dataset: names, columns and functions are arguments.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from medjax.metrics import METRICS, statistics, tables
from medjax.metrics.quality import psnr
from medjax.metrics.tables import PROTOCOL, summarise, table
from medjax.types import Array, Batch, DataError, Key, NonFiniteError, to_unit

__all__ = ["PROTOCOL", "Evaluation", "evaluate", "read", "summarise", "table", "write"]

Predict = Callable[[Batch, Key], Mapping[str, Array]]
POOL_BYTES = 256 << 20  # what examples are picked from; a split beyond it offers its first images


@dataclass
class Evaluation:
    """Scores by image, in the order of `names`.

    scores: `{row: {metric: float64 [n]}}`, rows `input`, the baselines, `model`; columns: `{column: [n]}` (patient,
    sex, ...); uncertainty: `{name: [n]}` of the standard-deviation maps, and their mean curves in `sparsification`;
    examples: arrays `[k, H, W, C]` in [0, 1] under source, target, model, best_baseline, with `names`, `ranks` and
    `baseline`.
    """

    names: list[str]
    scores: dict[str, dict[str, np.ndarray]]
    columns: dict[str, list] = field(default_factory=dict)
    uncertainty: dict[str, np.ndarray] = field(default_factory=dict)
    sparsification: dict[str, list[float]] = field(default_factory=dict)
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def evaluate(
    predict: Predict,
    batches: Iterable[Batch],
    *,
    key: Key,
    names: Sequence[str],
    columns: Mapping[str, Sequence[Any]] | None = None,
    metrics: Mapping[str, Callable[[Array, Array], Array]] = METRICS,
    baselines: Mapping[str, Callable[[Array], Array]] | None = None,
    sample: Predict | None = None,
    num_samples: int = 0,
    num_examples: int = 2,
    progress: bool = True,
) -> Evaluation:
    """Score `predict` and `baselines` on every image of `batches` that the mask keeps.

    Args:
      predict: `(batch, key) -> {"target": [B, H, W, C] in [-1, 1]}`; called as it is, so hand it over jitted. Its batch
        has no `target` and no `mask`.
      batches: dicts of `source` and `target` in [-1, 1], `index` int32 `[B]`, and where padded, `mask` bool `[B]`.
      names, columns: `names[index]` is an image's name, `columns[name][index]` what is known of it.
      metrics: `fn(output, target) -> [B]` on images in [0, 1].
      baselines: `fn(image [h, w, C] in [0, 1]) -> [H, W, C]`, parameters bound. Without them, no baseline rows.
      sample, num_samples: one random draw, like `predict`; with two draws or more their standard deviation is judged.
      num_examples: how many best, median and worst images (by the model's first metric, PSNR) to keep.
      progress: a progress bar on stderr.

    Raises NonFiniteError naming the image for which the model gives NaN or infinity, DataError for an empty split.
    """
    run = _Run(predict, dict(baselines or {}), sample, num_samples, metrics=metrics, names=names)
    with tqdm(desc="evaluating", unit="image", disable=not progress, leave=False) as bar:
        for batch in batches:
            bar.update(run.add(batch, key))
    if not run.index:
        raise DataError("there are no images to evaluate: the split is empty")
    scores = {row: {m: np.concatenate(v) for m, v in values.items()} for row, values in run.scores.items()}
    evaluation = Evaluation(names=[str(names[i]) for i in run.index], scores=scores)
    evaluation.columns = {name: [column[i] for i in run.index] for name, column in (columns or {}).items()}
    if run.maps:
        values, curves = ("rank_correlation", "ause", "ause_random", "mean_std"), ("fraction", "curve", "oracle")
        evaluation.uncertainty = {name: np.array([m[name] for m in run.maps]) for name in values}
        evaluation.sparsification = {name: np.mean([m[name] for m in run.maps], axis=0).tolist() for name in curves}
    evaluation.examples = _examples(evaluation, run, num_examples)
    evaluation.warnings = _warnings(scores, run)
    for message in evaluation.warnings:
        warnings.warn(message, stacklevel=2)
    return evaluation


class _Run:
    """What one pass over the batches gathers."""

    def __init__(self, predict, baselines, sample, num_samples, *, metrics, names):
        self.predict, self.baselines, self.metrics, self.names = predict, baselines, list(metrics), names
        self.score = _scorer(tuple(metrics.values()))
        self.sample, self.num_samples = sample, num_samples if sample and num_samples > 1 else 0
        self.index: list[int] = []
        self.scores: dict[str, dict[str, list]] = {}
        self.shuffled: list[float] = []  # PSNR of each source with the target of the image before it
        self.maps: list[dict[str, Any]] = []
        self.pool: list[tuple[np.ndarray, ...]] = []
        self.previous: np.ndarray | None = None

    def add(self, batch: Batch, key: Key) -> int:
        """Score one batch; how many images it held."""
        keep = np.asarray(batch.get("mask", np.ones(len(batch["index"]), bool)), bool)
        index = np.asarray(batch["index"])[keep].tolist()
        if not index:
            return 0
        visible = {name: value for name, value in batch.items() if name not in ("target", "mask")}
        source, target = (np.asarray(to_unit(np.asarray(batch[n], np.float32))) for n in ("source", "target"))
        output = np.asarray(self.predict(visible, key)["target"], np.float32)
        bad = [i for i, image in zip(index, output[keep], strict=True) if not np.isfinite(image).all()]
        if bad:
            raise NonFiniteError(f"the model's output for image '{self.names[bad[0]]}' is not finite")
        output = to_unit(output)
        if source.shape == target.shape:
            self._record("input", source, target, keep)
            self._shuffle(source, target, keep)
        for name, enhance in self.baselines.items():
            self._record(name, _apply(enhance, source, target, keep), target, keep)
        self._record("model", output, target, keep)
        kept = [source[keep], target[keep], output[keep]]
        if self.num_samples:
            kept.append(self._deviation(visible, key)[keep])
            self.maps += [statistics.map_quality(np.abs(o - t), s) for _, t, o, s in zip(*kept, strict=True)]
        for image in zip(*kept, strict=True):
            if len(self.pool) * sum(part.nbytes for part in image) < POOL_BYTES:
                self.pool.append(image)
        self.index += index
        return len(index)

    def _record(self, row: str, output: Array, target: Array, keep: Array) -> None:
        for name, value in zip(self.metrics, self.score(output, target), strict=True):
            self.scores.setdefault(row, {}).setdefault(name, []).append(np.asarray(value, np.float64)[keep])

    def _shuffle(self, source: Array, target: Array, keep: Array) -> None:
        first = target[:1] if self.previous is None else self.previous
        others = np.concatenate([first, target[:-1]])
        values = np.asarray(psnr(source, others))[keep]
        self.shuffled += values[1:].tolist() if self.previous is None else values.tolist()
        self.previous = target[np.flatnonzero(keep)[-1:]]

    def _deviation(self, batch: Batch, key: Key) -> np.ndarray:
        draws = [self.sample(batch, jax.random.fold_in(key, i))["target"] for i in range(self.num_samples)]
        return np.std([to_unit(np.asarray(draw, np.float32)) for draw in draws], axis=0, ddof=1)


@functools.lru_cache(maxsize=8)  # a second evaluation in one process compiles nothing
def _scorer(metrics: tuple[Callable, ...]) -> Callable[[Array, Array], list[Array]]:
    return jax.jit(lambda output, target: [metric(output, target) for metric in metrics])


def _apply(enhance: Callable, source: Array, target: Array, keep: Array) -> np.ndarray:
    """The baseline on every image that counts; padding keeps its target, so that every batch has one shape."""
    result = np.array(target)
    for i in np.flatnonzero(keep):
        result[i] = np.reshape(enhance(source[i]), target.shape[1:])
    return result


def _examples(evaluation: Evaluation, run: _Run, count: int) -> dict[str, np.ndarray]:
    """The best, median and worst images; only these few meet the best baseline a second time."""
    picked = tables.cases(evaluation.scores["model"][tables.main_metric(evaluation.scores)][: len(run.pool)], count)
    if not picked:
        return {}
    chosen = list(picked)
    fields = ("source", "target", "model", "std")[: len(run.pool[0])]
    examples = {name: np.stack([run.pool[i][k] for i in chosen]) for k, name in enumerate(fields)}
    examples |= {"names": np.array([evaluation.names[i] for i in chosen]), "ranks": np.array(list(picked.values()))}
    best = tables.best_baseline(evaluation.scores)
    if best:
        every = np.ones(len(chosen), bool)
        examples["baseline"] = np.array(best)
        examples["best_baseline"] = _apply(run.baselines[best], examples["source"], examples["target"], every)
    return examples


def _warnings(scores: Mapping[str, Any], run: _Run) -> list[str]:
    """Paired input should be closer to its own target than to another's; if not, the pairs are suspect."""
    if "input" not in scores or "psnr" not in scores["input"] or not run.shuffled:
        return []
    true, shuffled = scores["input"]["psnr"][1:], np.array(run.shuffled)
    if np.mean(true - shuffled) >= 1 and np.mean(true > shuffled) >= 0.75:
        return []
    return [
        f"the input row looks like that of shuffled pairs: {true.mean():.1f} dB against its own targets, "
        f"{shuffled.mean():.1f} dB against other images' targets; check that source and target belong together"
    ]


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
    _replace(directory / "examples.npz", examples.getvalue())
    _replace(directory / "evaluation.csv", text.getvalue().encode())
    _replace(directory / "evaluation.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def read(directory: str | Path) -> tuple[dict[str, Any], Evaluation]:
    """What `write` wrote: the summary, and the evaluation with its columns as text. DataError names a missing file."""
    directory = Path(directory)
    try:
        summary = json.loads((directory / "evaluation.json").read_text())
        with open(directory / "evaluation.csv", newline="") as file:
            header, *lines = csv.reader(file)
        with np.load(directory / "examples.npz", allow_pickle=False) as arrays:
            examples = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{directory} holds no complete evaluation: {error}") from error
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
    return summary, evaluation


def _replace(path: Path, content: bytes) -> None:
    """Write beside, then rename: a full disk or a kill leaves the old file whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
