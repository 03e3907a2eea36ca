"""Evaluated runs read back for a comparison, and the proof that they were judged alike: what `build.compare` works on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medjax import results
from medjax.types import ConfigError, DataError

# What belongs to a run and not to how it was judged; the test images themselves are compared by name and input score.
OF_THE_RUN = (
    "checkpoint_step", "train_seed", "training_data", "predict_norm", "baselines", "split_seed", "training_preprocessing",
    "training_images", "companions",
)  # fmt: skip
SAME_INPUT = 1e-3  # of the input row's own score: more than machines differ by


@dataclass(frozen=True)
class Run:
    """An evaluated run: `scores` {metric: `[seeds, n]`} of one row over `names`, the input row's in `inputs` {metric:
    `[n]`}, `columns` as text, `seeds` by the name of their folder, `summaries` as many.
    """

    label: str
    path: Path
    seeds: list[str]
    summaries: list[Mapping[str, Any]]
    names: list[str]
    columns: Mapping[str, list]
    scores: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]


def read_all(paths: Sequence[Path], *, row: str) -> list[Run]:
    """The runs in `paths`, each once, their images in one order; see `build.compare.compare` for what is refused."""
    paths = list({path.resolve(): path for path in paths}.values())
    if len(paths) < 2:
        raise ConfigError("a comparison needs two runs or more, each given once")
    found = [_read(path, label, row) for path, label in zip(paths, _labels(paths), strict=True)]
    return [found[0], *(_matched(run, found[0]) for run in found[1:])]


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _read(path: Path, label: str, row: str) -> Run:
    """A run of one evaluation, or of one in each of its seed folders, which have to be judged alike too."""
    seeds = sorted((file.parent for file in path.glob("seed_*/evaluation.json")), key=lambda f: (len(f.name), f.name))
    folders = [path] if (path / "evaluation.json").exists() else seeds
    if not folders:
        raise DataError(f"{path} holds no evaluation.json, nor does a seed folder in it: run medjax evaluate first")
    parts: list[Run] = []
    for folder in folders:
        part = _read_one(folder, label, row)
        parts.append(_matched(part, parts[0]) if parts else part)
    common = [m for m in parts[0].scores if all(m in part.scores for part in parts)]
    return replace(
        parts[0],
        path=path,
        seeds=[folder.name for folder in folders],
        summaries=[part.summaries[0] for part in parts],
        scores={m: np.concatenate([part.scores[m] for part in parts]) for m in common},
    )


def _read_one(folder: Path, label: str, row: str) -> Run:
    summary, evaluation = results.read(folder)
    if row not in evaluation.scores:
        raise DataError(f"{folder} has no row {row!r}; it has {', '.join(evaluation.scores)}")
    scores = {metric: np.array(values)[None] for metric, values in evaluation.scores[row].items()}
    inputs = evaluation.scores.get("input") or evaluation.scores.get("nearest", {})  # an input of fewer pixels, repeated
    return Run(label, folder, [folder.name], [summary], evaluation.names, evaluation.columns, scores, inputs)


def _matched(run: Run, first: Run) -> Run:
    """`run` with its images in the order of `first`. Raises DataError naming everything in which the two differ."""
    settings = _settings(first.summaries[0], run.summaries[0])
    wrong = [f"{name} ({_shown(a)} and {_shown(b)})" for name, a, b in settings] + _other_images(run, first)
    if wrong:
        raise DataError(f"{first.path} and {run.path} cannot be compared: they differ in {'; '.join(wrong)}")
    if run.names != first.names:
        place = {name: i for i, name in enumerate(run.names)}
        order = np.array([place[name] for name in first.names])
        pick = lambda values: {m: np.asarray(v)[..., order] for m, v in values.items()}  # noqa: E731
        columns = {name: [column[i] for i in order] for name, column in run.columns.items()}
        run = replace(run, names=first.names, columns=columns, scores=pick(run.scores), inputs=pick(run.inputs))
    for metric in first.inputs:
        a, b = first.inputs[metric], run.inputs.get(metric, first.inputs[metric])
        off = np.flatnonzero(np.abs(a - b) > SAME_INPUT * np.maximum(np.abs(a), 1e-3))
        if len(off):
            raise DataError(
                f"{first.path} and {run.path} cannot be compared: the input of '{first.names[off[0]]}' has {metric} "
                f"{a[off[0]]:.4g} in one and {b[off[0]]:.4g} in the other, so the images or their degradation are not the same"
            )
    return run


def _other_images(run: Run, first: Run) -> list[str]:
    """What the two test lists differ in, as at most one phrase."""
    mine, theirs = set(run.names), set(first.names)
    if run.names == first.names or (mine == theirs and len(mine) == len(run.names) == len(first.names)):
        return []
    if mine == theirs:
        return ["how often an image of one name occurs"]
    parts = [f"{len(mine & theirs)} test images in common of {len(first.names)} and {len(run.names)}"]
    for here, where in ((theirs - mine, first.path), (mine - theirs, run.path)):
        if here:
            parts.append(f"{', '.join(repr(n) for n in sorted(here)[:2])}{', ...' if len(here) > 2 else ''} only in {where}")
    return [", ".join(parts)]


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, value in a, value in b) of everything that differs and belongs to how a run was judged."""
    pairs = [(name, a.get(name), b.get(name)) for name in ("dataset", "split", "unit")]
    p, q = a.get("protocol", {}), b.get("protocol", {})
    pairs += [(f"protocol.{name}", p.get(name), q.get(name)) for name in dict.fromkeys([*p, *q]) if name not in OF_THE_RUN]
    return [(name, x, y) for name, x, y in pairs if x != y]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
