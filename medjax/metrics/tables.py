"""From per-image scores to the table of a result file: rows, paired differences, groups, text. Numpy only.

`scores` is `{row: {metric: float array [n]}}` with the rows `input`, the baselines and `model`; a table always carries
the input and the baselines beside the model, n, and 95% intervals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from medjax.metrics import statistics
from medjax.metrics.quality import PSNR_CAP
from medjax.types import ConfigError

Scores = Mapping[str, Mapping[str, np.ndarray]]

PROTOCOL: dict[str, Any] = {
    "data_range": 1.0,
    "intensities": "mapped to [0, 1] by the range of the dataset, clipped",
    "averaging": "per image over the whole test image, then over images; padding masked",
    "psnr": f"-10 log10(mse) per image, at most {PSNR_CAP:g} dB",
    "ssim": "Wang 2004: Gaussian 11x11, sigma 1.5, population covariance, K 0.01 and 0.03, valid windows",
    "interval": f"percentile bootstrap over images, 95%, {statistics.RESAMPLES} resamples, seed 0",
    "test": f"paired sign-flip, two-sided: exact to n = {statistics.EXACT_UP_TO}, else {statistics.FLIPS} flips",
    "resolution": None,
    "resampler": None,
    "degradation": None,
    "baselines": None,
    "predict_norm": None,
}
"""What every result file states; the fields that are None are the caller's to fill (None means: does not apply)."""

PACKAGES = ("medjax", "jax", "jaxlib", "flax", "numpy", "scikit-image", "pillow")
COMPANIONS = ("l1", "l2", "charbonnier", "interpolated")  # rows of other trained models beside `model`: no baselines
AGAINST = ("nlm", "bicubic", "lanczos", *COMPANIONS, "input")  # rows a reader expects a comparison with, where they are there
AGE_BANDS = (0, 18, 40, 60, 80)


def rows(scores: Scores) -> dict[str, dict[str, dict[str, Any]]]:
    """`{row: {metric: {"mean", "std", "ci95", "n"}}}`."""
    return {row: {name: statistics.summary(v) for name, v in metrics.items()} for row, metrics in scores.items()}


def main_metric(scores: Scores) -> str:
    """What images and baselines are ordered by: PSNR, inside the region where there is one, else the first metric."""
    present = next(iter(scores.values()))
    return next((name for name in ("psnr_inside", "psnr") if name in present), next(iter(present)))


def best_baseline(scores: Scores) -> str | None:
    """The row of a classical method with the highest mean PSNR (its first metric, where it has no PSNR)."""
    candidates = [row for row in scores if row not in ("input", "model", *COMPANIONS)]
    if not candidates:
        return None
    metric = main_metric(scores)
    return max(candidates, key=lambda row: float(np.nanmean(scores[row][metric])))


def differences(scores: Scores) -> dict[str, dict[str, Any]]:
    """`model` minus the best baseline and the rows of `AGAINST`, paired by image, with interval and sign-flip p-value.

    `{"best_baseline" | row: {"row": name, metric: {"mean", "std", "ci95", "n", "p_value", "wins"}}}`. The best baseline is
    chosen on these same images, which favours it, not the model.
    """
    if "model" not in scores:
        return {}
    against = {"best_baseline": best_baseline(scores), **{row: row for row in AGAINST}}
    return {
        label: {"row": row, **{m: statistics.compare(v, scores[row][m]) for m, v in scores["model"].items()}}
        for label, row in against.items()
        if row in scores
    }


def cases(values: np.ndarray, count: int) -> dict[int, str]:
    """`{index: "best" | "median" | "worst"}`, `count` of each at most, in falling order of `values` `[n]`."""
    order = [int(i) for i in np.argsort(values)[::-1]]
    middle = max(0, (len(order) - count) // 2)
    median = dict.fromkeys(order[middle : middle + count], "median")
    worst = dict.fromkeys(order[len(order) - count :] if count < len(order) else order, "worst")
    picked = median | worst | dict.fromkeys(order[:count], "best")  # an image that is two of them counts as the best
    return {i: picked[i] for i in order if i in picked}


def groups(column: str, values: Sequence[Any]) -> dict[str, np.ndarray]:
    """`{group: bool [n]}` of a column: ages in bands, other numbers of over eight values in quartiles, else values."""
    values = np.asarray(values)
    numbers = _numbers(values)
    if column.lower() == "age" and numbers is not None:
        edges = np.array([*AGE_BANDS, np.inf])
    elif numbers is not None and np.unique(numbers).size > 8:
        edges = np.append(np.quantile(numbers[np.isfinite(numbers)], [0, 0.25, 0.5, 0.75]), np.inf)
    else:
        names = np.array([str(v) for v in values])
        return {str(name): names == name for name in np.unique(names)}
    found = {}
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        name = f"{low:g} and over" if np.isinf(high) else f"{low:g} to under {high:g}"
        found[name] = (numbers >= low) & (numbers < high)
    found["unknown"] = ~np.any(list(found.values()), axis=0)
    return {name: mask for name, mask in found.items() if mask.any()}


def per_unit(scores: Scores, units: Sequence[Any]) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Means over the images of each unit (patient, subject), and the units' names in order of appearance.

    Images of one patient are not independent: intervals and tests over them would be too narrow. NaN is left out.
    """
    names = list(dict.fromkeys(map(str, units)))
    return {row: {m: statistics.unit_means(v, units) for m, v in metrics.items()} for row, metrics in scores.items()}, names


def by_column(
    scores: Scores, columns: Mapping[str, Sequence[Any]], column: str, *, unit: str | None = None
) -> dict[str, Any]:
    """`{"column", "groups": {value: {"n", "rows", "differences"}}}`; ConfigError for a column that is not there.

    unit: the column whose images are averaged first (see `per_unit`); n counts them.
    """
    if column not in columns:
        raise ConfigError(f"no column '{column}' to split the table by; there are: {', '.join(columns) or 'none'}")
    split = {}
    for name, mask in groups(column, columns[column]).items():
        part = {row: {m: v[mask] for m, v in metrics.items()} for row, metrics in scores.items()}
        count = int(mask.sum())
        if unit is not None:
            part, units = per_unit(part, [u for u, here in zip(columns[unit], mask, strict=True) if here])
            count = len(units)
        split[name] = {"n": count, "rows": rows(part), "differences": differences(part)}
    return {"column": column, "groups": split}


def summarise(
    evaluation: Any, *, protocol: Mapping[str, Any], dataset: str | Mapping[str, Any], split: str, by: str | None = None
) -> dict[str, Any]:
    """What `evaluation.json` holds, of an `evaluate.Evaluation`: plain JSON types, no NaN.

    Keys: dataset, split, n, protocol (`PROTOCOL` updated with `protocol`: resolution, resampler, degradation, baselines
    {name: params}, predict_norm, ...), rows, differences, best_baseline, versions, and where they apply uncertainty,
    by, warnings. `dataset` is a name or a dict with "name". Where some patient has several images, patients are the unit
    of n, means, intervals and tests: then `images` counts the images and `units` holds `{patient: {row: {metric: mean}}}`.
    """
    unit = "patient" if len(set(evaluation.columns.get("patient", ()))) < len(evaluation.columns.get("patient", ())) else None
    scores, stated = evaluation.scores, {**PROTOCOL, **protocol}
    result: dict[str, Any] = {"dataset": dataset, "split": split, "n": len(evaluation.names)}
    if unit is not None:
        scores, units = per_unit(scores, evaluation.columns[unit])
        stated |= {"averaging": f"{stated['averaging']}; first over each {unit}'s images, then over {unit}s"}
        stated["interval"] = stated["interval"].replace("over images", f"over {unit}s")
        result |= {"n": len(units), "images": len(evaluation.names), "unit": unit, "units": _by_unit(scores, units)}
    result |= {
        "protocol": stated,
        "rows": rows(scores),
        "differences": differences(scores),
        "best_baseline": best_baseline(scores),
        "versions": _versions(),
    }
    if evaluation.uncertainty:
        values = {name: statistics.summary(v) for name, v in evaluation.uncertainty.items()}
        result["uncertainty"] = {**values, "sparsification": evaluation.sparsification}
    if by is not None:
        result["by"] = by_column(evaluation.scores, evaluation.columns, by, unit=unit)
    if evaluation.warnings:
        result["warnings"] = list(evaluation.warnings)
    return json.loads(json.dumps(result, default=_plain, allow_nan=False))


def _by_unit(scores: Scores, units: Sequence[str]) -> dict[str, Any]:
    """`{unit: {row: {metric: value}}}`, None for what is not finite."""
    plain = lambda v: float(v) if np.isfinite(v) else None  # noqa: E731
    return {
        name: {row: {m: plain(v[i]) for m, v in metrics.items()} for row, metrics in scores.items()}
        for i, name in enumerate(units)
    }


def _numbers(values: np.ndarray) -> np.ndarray | None:
    """The column as floats (empty and None as nan), or None where some value is not a number."""
    try:
        return np.array([np.nan if v is None or str(v).strip() in ("", "None") else float(v) for v in values])
    except ValueError:
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # run from a checkout that is not installed
    return found


def _plain(value: Any) -> Any:
    """For json: numpy scalars and arrays, tuples, paths."""
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple | set) else str(value)
