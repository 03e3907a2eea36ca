"""Metrics of a model and of the classical baselines over a split, under one protocol, image by image.

`evaluate` scores, `summarise` makes what `evaluation.json` holds, `write` and `read` keep it (see `medjax.results`).
Batches come in and `predict` gives images in [-1, 1]; scores, baselines and examples are in [0, 1]. Nothing here knows
a model or a dataset: names, columns and functions are arguments.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from medjax.metrics import METRICS, REGION, statistics, tables
from medjax.metrics.markdown import table
from medjax.metrics.quality import psnr
from medjax.metrics.tables import PROTOCOL, summarise
from medjax.results import Evaluation, read, write
from medjax.types import Array, Batch, DataError, Key, NonFiniteError, to_unit

__all__ = ["PROTOCOL", "Evaluation", "evaluate", "read", "summarise", "table", "write"]

Predict = Callable[[Batch, Key], Mapping[str, Array]]
POOL_BYTES = 256 << 20  # what examples are picked from; a split beyond it offers its first images


def evaluate(
    predict: Predict,
    batches: Iterable[Batch],
    *,
    key: Key,
    names: Sequence[str],
    columns: Mapping[str, Sequence[Any]] | None = None,
    metrics: Mapping[str, Callable[[Array, Array], Array]] = METRICS,
    region_metrics: Mapping[str, Callable[[Array, Array, Array], Array]] = REGION,
    baselines: Mapping[str, Callable[[Array], Array]] | None = None,
    companions: Mapping[str, Predict] | None = None,
    sample: Predict | None = None,
    num_samples: int = 0,
    num_examples: int = 2,
    watch: Callable[[Mapping[str, np.ndarray]], None] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score `predict` and `baselines` on every image of `batches` that the mask keeps.

    Args:
      predict: `(batch, key) -> {"target": [B, H, W, C] in [-1, 1]}`; called as it is, so hand it over jitted. Its batch
        has no `target`, `mask` and `region`.
      batches: dicts of `source` and `target` in [-1, 1], `index` int32 `[B]`, where padded `mask` bool `[B]`, and where a
        region is known `region` `[B, H, W, 1]` of 0 and 1. Of a source with neighbouring slices as channels the middle
        one is the input row's; a source of fewer pixels than its target has no such row.
      names, columns: `names[index]` is an image's name, `columns[name][index]` what is known of it.
      metrics: `fn(output, target) -> [B]` on images in [0, 1]; region_metrics: `fn(output, target, region) -> [B]`, used
        where the batches have a region.
      baselines: `fn(image [h, w, C] in [0, 1]) -> [H, W, C]`, parameters bound. Without them, no baseline rows.
      companions: other models' `predict`, a row for each, named as in `tables.COMPANIONS`.
      sample, num_samples: one random draw, like `predict`; with two draws or more their standard deviation is judged.
      num_examples: how many best, median and worst images (by the model's first metric, PSNR) to keep.
      watch: called with the images of each batch that count, `{row: [b, H, W, C] in [0, 1]}` with `target` beside the rows:
        what is measured over whole sets of images gathers there.
      progress: a progress bar on stderr.

    Raises NonFiniteError naming the image for which the model gives NaN or infinity, DataError for an empty split.
    """
    run = _Run(predict, dict(baselines or {}), sample, num_samples, metrics=metrics, region_metrics=region_metrics, names=names)
    run.patients, run.companions, run.watch = (columns or {}).get("patient", ()), dict(companions or {}), watch
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

    def __init__(self, predict, baselines, sample, num_samples, *, metrics, region_metrics, names):
        self.predict, self.baselines, self.names = predict, baselines, names
        self.metrics, self.region_metrics = dict(metrics), dict(region_metrics)
        self.sample, self.num_samples = sample, num_samples if sample and num_samples > 1 else 0
        self.index: list[int] = []
        self.scores: dict[str, dict[str, list]] = {}
        self.patients: Sequence[Any] = ()
        self.companions: Mapping[str, Predict] = {}
        self.watch: Callable[[Mapping[str, np.ndarray]], None] | None = None
        self.shuffled: list[float] = []  # PSNR of each source with the target of the image before it, nan of one patient
        self.maps: list[dict[str, Any]] = []
        self.pool: list[dict[str, np.ndarray]] = []
        self.previous: np.ndarray | None = None

    def add(self, batch: Batch, key: Key) -> int:
        """Score one batch; how many images it held."""
        keep = np.asarray(batch.get("mask", np.ones(len(batch["index"]), bool)), bool)
        index = np.asarray(batch["index"])[keep].tolist()
        if not index:
            return 0
        visible = {name: value for name, value in batch.items() if name not in ("target", "mask", "region")}
        source, target = (np.asarray(to_unit(np.asarray(batch[n], np.float32))) for n in ("source", "target"))
        source, region = middle(source, target.shape[-1]), batch.get("region")
        output = self._output("model", self.predict, visible, key, keep)
        rows = {"input": source} if source.shape == target.shape else {}
        rows |= {name: _apply(enhance, source, target, keep) for name, enhance in self.baselines.items()}
        rows |= {name: self._output(name, predict, visible, key, keep) for name, predict in self.companions.items()}
        rows["model"] = output
        if "input" in rows and region is None:  # of two contrasts the input need not resemble its target
            self._shuffle(source, target, keep, index)
        for name, images in rows.items():
            self._record(name, images, target, keep, region)
        if self.watch is not None:
            self.watch({name: np.asarray(images)[keep] for name, images in {**rows, "target": target}.items()})
        kept = {"source": source, "target": target, "model": output, **{name: rows[name] for name in self.companions}}
        kept = {name: np.asarray(images)[keep] for name, images in kept.items()}
        if self.num_samples:
            kept["std"] = self._deviation(visible, key)[keep]
            errors = np.abs(kept["model"] - kept["target"])
            self.maps += [statistics.map_quality(error, std) for error, std in zip(errors, kept["std"], strict=True)]
        for i in range(len(index)):
            image = {name: images[i] for name, images in kept.items()}
            if len(self.pool) * sum(part.nbytes for part in image.values()) < POOL_BYTES:
                self.pool.append(image)
        self.index += index
        return len(index)

    def _output(self, row: str, predict: Predict, batch: Batch, key: Key, keep: Array) -> np.ndarray:
        output = np.asarray(predict(batch, key)["target"], np.float32)
        index = np.asarray(batch["index"])
        bad = [i for i, image in zip(index[keep], output[keep], strict=True) if not np.isfinite(image).all()]
        if bad:
            of = "the model's output" if row == "model" else f"the output of the row {row}"
            raise NonFiniteError(f"{of} for image '{self.names[bad[0]]}' is not finite")
        return to_unit(output)

    def _record(self, row: str, output: Array, target: Array, keep: Array, region: Array | None) -> None:
        values = dict(zip(self.metrics, _scorer(tuple(self.metrics.values()))(output, target), strict=True))
        if region is not None:
            inside = _scorer(tuple(self.region_metrics.values()))(output, target, region)
            values |= zip(self.region_metrics, inside, strict=True)
        for name, value in values.items():
            self.scores.setdefault(row, {}).setdefault(name, []).append(np.asarray(value, np.float64)[keep])

    def _shuffle(self, source: Array, target: Array, keep: Array, index: list[int]) -> None:
        first = target[:1] if self.previous is None else self.previous
        others = np.concatenate([first, target[:-1]])
        values = np.asarray(psnr(source, others))[keep]
        before = [self.index[-1] if self.index else None, *index[:-1]]
        for value, own, other in zip(values, index, before, strict=True):  # the next slice of a scan is too much alike
            stranger = other is not None and (not self.patients or self.patients[own] != self.patients[other])
            self.shuffled.append(float(value) if stranger else np.nan)
        self.previous = target[np.flatnonzero(keep)[-1:]]

    def _deviation(self, batch: Batch, key: Key) -> np.ndarray:
        draws = [self.sample(batch, jax.random.fold_in(key, i))["target"] for i in range(self.num_samples)]
        return np.std([to_unit(np.asarray(draw, np.float32)) for draw in draws], axis=0, ddof=1)


@functools.lru_cache(maxsize=8)  # a second evaluation in one process compiles nothing
def _scorer(metrics: tuple[Callable, ...]) -> Callable[..., list[Array]]:
    return jax.jit(lambda *images: [metric(*images) for metric in metrics])


def middle(source: np.ndarray, channels: int) -> np.ndarray:
    """`[..., C]` to `[..., channels]`: of a source with neighbouring slices beside its own the middle, else as it is."""
    first = (source.shape[-1] - channels) // 2
    return source[..., first : first + channels] if first > 0 else source


def enlarged(images: Array, height: int) -> Array:
    """`[N, h, w, C]` with every pixel repeated, so that `height` is a multiple of h: how an input of fewer pixels is shown."""
    factor = height // images.shape[1]
    return images if factor <= 1 else np.asarray(images).repeat(factor, axis=1).repeat(factor, axis=2)


def in_batches(run: Callable[[np.ndarray], Array], count: int, *, size: int) -> np.ndarray:
    """`run(places int [size]) -> [size, ...]` over `count` places, put together `[count, ...]`: batches of one shape, so that one
    program serves all, the last filled up with its last place.
    """
    starts = range(0, count, size)
    return np.concatenate([np.asarray(run(np.arange(i, i + size).clip(max=count - 1)))[: count - i] for i in starts])


def _apply(enhance: Callable, source: Array, target: Array, keep: Array) -> np.ndarray:
    """The baseline on every image that counts; padding keeps its target, so that every batch has one shape."""
    result = np.array(target)
    for i in np.flatnonzero(keep):
        result[i] = np.reshape(enhance(source[i]), target.shape[1:])
    return result


def _examples(evaluation: Evaluation, run: _Run, count: int) -> dict[str, np.ndarray]:
    """The best, median and worst images; only these few meet a baseline a second time."""
    picked = tables.cases(evaluation.scores["model"][tables.main_metric(evaluation.scores)][: len(run.pool)], count)
    if not picked:
        return {}
    chosen = list(picked)
    examples = {name: np.stack([run.pool[i][name] for i in chosen]) for name in run.pool[0]}
    examples |= {"names": np.array([evaluation.names[i] for i in chosen]), "ranks": np.array(list(picked.values()))}
    again = lambda row: _apply(run.baselines[row], examples["source"], examples["target"], np.ones(len(chosen), bool))  # noqa: E731
    best = tables.best_baseline(evaluation.scores)
    if best:
        examples |= {"baseline": np.array(best), "best_baseline": again(best)}
    if "bicubic" in run.baselines:  # what super-resolution is looked at beside, whichever row is best
        examples["bicubic"] = again("bicubic")
    return examples


def _warnings(scores: Mapping[str, Any], run: _Run) -> list[str]:
    """Paired input should be closer to its own target than to another's; if not, the pairs are suspect."""
    if "input" not in scores or "psnr" not in scores["input"] or not run.shuffled:
        return []
    known = np.isfinite(run.shuffled)
    true, shuffled = scores["input"]["psnr"][known], np.array(run.shuffled)[known]
    if not known.any():
        return []
    if np.mean(true - shuffled) >= 1 and np.mean(true > shuffled) >= 0.75:
        return []
    return [
        f"the input row looks like that of shuffled pairs: {true.mean():.1f} dB against its own targets, "
        f"{shuffled.mean():.1f} dB against other images' targets; check that source and target belong together"
    ]
