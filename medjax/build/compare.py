"""`medjax compare`: runs on the same test images side by side, with paired differences, intervals and adjusted p-values.

Reads what `medjax evaluate` left in each workdir, or in its `seed_*` folders. Runs under different protocols, or on
different test images, are refused: a difference of theirs would have two causes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.build import compare_classes, compare_files
from medjax.build.compare_runs import Run, read_all
from medjax.metrics import hypothesis, statistics
from medjax.types import ConfigError, DataError

DEFAULT = ("psnr", "ssim", "ms_ssim", "mae", "psnr_inside", "ssim_inside", "accuracy", "loss")
LOWER = ("mae", "mse", "nrmse", "rmse", "gmsd", "lpips", "loss")
UNDIRECTED = ("spectrum_ratio", "gradient_ratio", "checkerboard", "nearest", "d_probability")
CHUNK = 1 << 22  # elements of one block of the bootstrap over seeds


def compare(
    runs: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    metrics: Sequence[str] = (),
    row: str = "model",
    output: str | Path | None = None,
    resamples: int = statistics.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the rows called `row` of evaluated runs; returns what `comparison.json` holds.

    Args:
      runs: workdirs (or `--output` folders of an evaluation), at least two with the baseline; of a workdir with several
        seeds the scores of each image are averaged over them.
      baseline: the run that the others are subtracted from; default the first.
      metrics: columns of `evaluation.csv`; default those of `DEFAULT` and LPIPS that all runs have.
      output: where `comparison.json`, `.csv`, `.md`, `.png` and, of three runs or more, `ranks.png` go; None writes nothing.

    Differences are run - baseline over the same images, per patient where one has several: mean, 95% intervals
    (percentile, BCa, and with several seeds one that resamples seeds and patients), p of the sign-flip and of Wilcoxon's
    test, each adjusted by Holm over the whole table; of classifiers McNemar's and DeLong's tests beside them. Raises DataError
    for a folder without an evaluation and for protocols or test images that differ, saying in what; ConfigError for fewer than
    two runs or an unknown metric.
    """
    folders = [Path(run) for run in (*([] if baseline is None else [baseline]), *runs)]
    found = read_all(folders, row=row)
    metrics, (unit, units) = _metrics(found, metrics), _units(found[0])
    table = {run.label: {m: np.stack([_per_unit(v, units) for v in run.scores[m]]) for m in metrics} for run in found}
    first = found[0].label
    result = {
        **_about(found, metrics, row),
        "unit": unit,
        "n": len(set(units)),
        "runs": {run.label: _means(run, table[run.label], resamples, seed) for run in found},
        "differences": {
            run.label: {m: _difference(table[run.label][m], table[first][m], direction(m), resamples, seed) for m in metrics}
            for run in found[1:]
        },
        "ranks": {m: r for m in metrics if (r := _ranks([table[run.label][m] for run in found], m))},
        "features": _features(found, row),
        **compare_classes.tests(found),
    }
    _adjust(result["differences"])
    result = json.loads(json.dumps(result, allow_nan=False))
    if output is not None:
        main = result["metrics"][0]
        compare_files.write(output, result, {label: values[main].mean(0) for label, values in table.items()})
    return result


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is: for a ratio whose best value is 1."""
    return 0 if metric.startswith(UNDIRECTED) else -1 if metric.startswith(LOWER) else 1


def _metrics(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    common = [m for m in runs[0].scores if all(m in run.scores for run in runs)]
    unknown = [m for m in wanted if m not in common]
    if unknown:
        raise ConfigError(f"metric {unknown[0]!r} is not in every run; these are: {', '.join(common)}")
    chosen = list(wanted) or [m for m in common if m in DEFAULT or m.startswith("lpips")] or common
    if not chosen:
        raise DataError("the runs have no metric in common")
    return chosen


def _units(run: Run) -> tuple[str, list[str]]:
    """What is counted, and its name for each image: patients where one has several images, else images."""
    unit = run.summaries[0].get("unit", "patient")
    column = run.columns.get(unit, [])
    several = all(column) and 0 < len(set(column)) < len(column)
    return (unit, list(column)) if several else ("image", list(run.names))


def _per_unit(values: np.ndarray, units: Sequence[str]) -> np.ndarray:
    return statistics.unit_means(values, units) if len(set(units)) < len(units) else np.asarray(values, float)


def _about(runs: Sequence[Run], metrics: Sequence[str], row: str) -> dict[str, Any]:
    """What holds for all of the runs."""
    summary = runs[0].summaries[0]
    shared = {name: summary.get(name) for name in ("dataset", "split", "protocol")}
    if shared["protocol"]:
        shared["protocol"] = {k: v for k, v in shared["protocol"].items() if all(_has(run, k, v) for run in runs)}
    named = {"metrics": list(metrics), "better": {m: direction(m) for m in metrics}, "row": row, "baseline": runs[0].label}
    return {**named, **shared, "images": len(runs[0].names)}


def _has(run: Run, name: str, value: Any) -> bool:
    return all(summary.get("protocol", {}).get(name) == value for summary in run.summaries)


def _means(run: Run, values: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, Any]:
    """`{"path", "seeds", metric: {"mean", "std", "ci95", "n", "by_seed", "seed_std"}}`; std is that over units."""
    found: dict[str, Any] = {"path": str(run.path), "seeds": run.seeds}
    for metric, each in values.items():
        by_seed = [float(np.nanmean(v)) if np.isfinite(v).any() else None for v in each]
        several = len(by_seed) > 1 and None not in by_seed
        found[metric] = {
            **statistics.summary(each.mean(0), resamples=resamples, seed=seed),
            "by_seed": by_seed,
            "seed_std": float(np.std(by_seed, ddof=1)) if several else None,
        }
    return found


def _difference(a: np.ndarray, b: np.ndarray, better: int, resamples: int, seed: int) -> dict[str, Any]:
    """a - b, `[seeds, n]` each: seeds averaged, then paired over units. `wins` is the share of units where a is better."""
    mine, theirs = a.mean(0), b.mean(0)
    difference = mine - theirs
    good = np.isfinite(difference)
    result = statistics.compare(mine, theirs, resamples=resamples, seed=seed)
    bca = statistics.bootstrap_interval(difference[good], method="bca", resamples=resamples, seed=seed)
    result["ci95_bca"] = None if np.isnan(bca).any() else [float(bound) for bound in bca]
    several = max(len(a), len(b)) > 1 and good.sum() > 1
    result["ci95_seeds"] = over_seeds(a[:, good], b[:, good], resamples=resamples, seed=seed) if several else None
    result["wins"] = float(np.mean(better * difference[good] > 0)) if better and good.any() else None
    signed_rank = hypothesis.wilcoxon(mine, theirs)
    return result | {"p_wilcoxon": signed_rank["p_value"], "effect": signed_rank["effect"]}


def over_seeds(a: np.ndarray, b: np.ndarray, *, resamples: int = statistics.RESAMPLES, seed: int = 0) -> list[float]:
    """Percentile interval `[low, high]` of mean(a) - mean(b) when seeds of each run and units in common are all drawn
    again; `[seeds, n]` each. Of few seeds it understates what seeds do, by (s - 1) / s of their variance.
    """
    rng, n = np.random.default_rng(seed), a.shape[1]
    means = []
    for start in range(0, resamples, rows := max(1, CHUNK // n)):
        count = min(rows, resamples - start)
        drawn = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=count) / len(x) @ x for x in (a, b)]
        weights = rng.multinomial(n, np.full(n, 1 / n), size=count) / n
        means.append(np.sum(weights * (drawn[0] - drawn[1]), 1))
    return [float(bound) for bound in np.quantile(np.concatenate(means), (0.025, 0.975))]


def _adjust(differences: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Holm over every difference of the table at once, for each of the two tests."""
    cells = [cell for rows in differences.values() for cell in rows.values()]
    for name, adjusted in (("p_value", "p_adjusted"), ("p_wilcoxon", "p_wilcoxon_adjusted")):
        for cell, value in zip(cells, hypothesis.holm([cell[name] for cell in cells]), strict=True):
            cell[adjusted] = float(value)


def _ranks(values: Sequence[np.ndarray], metric: str) -> dict[str, Any]:
    """Friedman's ranks of three runs or more over units, and over seeds where all have the same number of two or more."""
    sign, found = direction(metric), {}
    if not sign or len(values) < 3:
        return found
    over = {"units": np.stack([v.mean(0) for v in values], 1)}
    if len({len(v) for v in values}) == 1 and len(values[0]) > 1:
        over["seeds"] = np.stack([np.nanmean(v, 1) for v in values], 1)
    for name, scores in over.items():
        if np.isfinite(scores).all(1).sum() > 1:
            found[name] = hypothesis.friedman(sign * scores)
    return found


def _features(runs: Sequence[Run], row: str) -> dict[str, dict[str, Any]]:
    """`{key: {run: {"mean", "by_seed", "n"}}}` of distances over features that all runs state for the row, of the same
    weights, preparation and numbers of images; no test: one value of a set is not paired.
    """
    by_run = {run.label: [summary.get("features", {}).get(row, {}) for summary in run.summaries] for run in runs}
    usable = lambda record: isinstance(record, Mapping) and record.get("value") is not None  # noqa: E731
    parts = [part for each in by_run.values() for part in each]
    keys = [key for key in parts[0] if all(usable(part.get(key)) for part in parts)]
    told = lambda record: [record.get(name) for name in ("weights", "preprocess", "n")]  # noqa: E731
    keys = [key for key in keys if all(told(part[key]) == told(parts[0][key]) for part in parts)]
    found: dict[str, dict[str, Any]] = {key: {} for key in keys}
    for key in keys:
        for label, each in by_run.items():
            values = [float(part[key]["value"]) for part in each]
            found[key][label] = {"mean": float(np.mean(values)), "by_seed": values, "n": each[0][key].get("n")}
    return found
