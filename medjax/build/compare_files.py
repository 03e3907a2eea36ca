"""What a comparison leaves: the table as Markdown, CSV and JSON, and its figures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.figures import compare as figures
from medjax.figures import style
from medjax.files import replace
from medjax.metrics.markdown import DIGITS

PANELS = 6  # rows of one figure
COLUMNS = (
    "run", "metric", "seeds", "n", "mean", "std", "ci95_low", "ci95_high", "seed_std", "baseline", "difference",
    "difference_ci95_low", "difference_ci95_high", "difference_bca_low", "difference_bca_high", "difference_seeds_low",
    "difference_seeds_high", "p_value", "p_adjusted", "p_wilcoxon", "p_wilcoxon_adjusted", "effect", "wins",
)  # fmt: skip


def write(output: str | Path, result: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
    """`comparison.json`, `.csv`, `.md` and `.png`, and `ranks.png` where there are ranks, each in one rename.

    result: of `build.compare.compare`; values: `{run: [n]}` of the first metric, the baseline first.
    """
    (output := Path(output)).mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(result, values).items():
        replace(output / name, picture)
    replace(output / "comparison.md", markdown(result))
    replace(output / "comparison.csv", table(result))
    replace(output / "comparison.json", json.dumps(result, indent=2, allow_nan=False) + "\n")


def pictures(result: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """`{file name: PNG}`: the runs against the baseline by the first metric, and ranks by every metric that has a better."""
    metric, baseline = result["metrics"][0], result["baseline"]
    others = {label: v for label, v in values.items() if label != baseline}
    shown = dict(list(others.items())[:PANELS])
    intervals = {label: result["differences"][label][metric]["ci95"] for label in shown}
    kind = {"name": baseline, "intervals": intervals, "counted": f"{result['unit']}s"}
    found = {}
    if all(np.isfinite(v - values[baseline]).any() for v in shown.values()):
        higher = result["better"][metric] >= 0
        found["comparison.png"] = style.png(figures.paired(shown, values[baseline], metric, higher_is_better=higher, **kind))
    tables = [(m, over, t) for m, each in result["ranks"].items() for over, t in _named(each, result["unit"])]
    ranks = {f"{style.unit(m)}, over {over}": t for m, over, t in tables}
    if ranks:
        found["ranks.png"] = style.png(figures.critical_difference(dict(list(ranks.items())[:4]), list(result["runs"])))
    return found


def _named(tables: Mapping[str, Any], unit: str) -> list[tuple[str, Any]]:
    return [(f"{unit}s" if over == "units" else over, table) for over, table in tables.items()]


def table(result: Mapping[str, Any]) -> str:
    """The comparison as CSV, a row for each run and metric, `COLUMNS`; empty where a value does not apply."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    for label, run in result["runs"].items():
        for metric in result["metrics"]:
            row = {"run": label, "metric": metric, "seeds": len(run["seeds"])}
            row |= {name: run[metric][name] for name in ("n", "mean", "std", "seed_std")} | _ends("ci95", run[metric]["ci95"])
            cell = result["differences"].get(label, {}).get(metric)
            if cell is not None:
                row |= {"baseline": result["baseline"], "difference": cell["mean"]}
                row |= {name: cell[name] for name in COLUMNS[-6:]} | _ends("difference_ci95", cell["ci95"])
                row |= _ends("difference_bca", cell["ci95_bca"]) | _ends("difference_seeds", cell["ci95_seeds"])
            writer.writerow({name: "" if value is None else value for name, value in row.items()})
    return text.getvalue()


def _ends(name: str, interval: list[float] | None) -> dict[str, float]:
    return dict(zip((f"{name}_low", f"{name}_high"), interval, strict=True)) if interval else {}


def markdown(result: Mapping[str, Any]) -> str:
    """The comparison as text: means of every run, differences to the baseline, ranks, distances over features."""
    data = result["dataset"]
    data, plural = data.get("name") if isinstance(data, Mapping) else data, f"{result['unit']}s"
    counted = f"n = {result['n']} {plural}" + f", {result['images']} images" * (result["unit"] != "image")
    stated = f"mean [95% bootstrap interval over {plural}]"
    lines = [f"{data}, {result['split']} split, row `{result['row']}`, {counted}; {stated}", ""]
    rows = [["run", *result["metrics"], "seeds"]]
    for label, run in result["runs"].items():
        rows.append([label, *(_mean(run[m], m) for m in result["metrics"]), str(len(run["seeds"]))])
    lines += _aligned(rows)
    lines += ["", f"Difference to {result['baseline']}, paired over {plural}; p adjusted by Holm over all rows of this table", ""]
    several = any(c["ci95_seeds"] for each in result["differences"].values() for c in each.values())
    head = ["run", "metric", "difference [95%]", "BCa", *["seeds too"] * several]
    rows = [[*head, "p sign-flip", "adjusted", "p Wilcoxon", "adjusted", "better on"]]
    for label, each in result["differences"].items():
        for metric, cell in each.items():
            digits = _decimals(cell["ci95"], metric)
            ends = [_interval(cell["ci95_bca"], digits), *[_interval(cell["ci95_seeds"], digits)] * several]
            tests = [_p(cell[name]) for name in ("p_value", "p_adjusted", "p_wilcoxon", "p_wilcoxon_adjusted")]
            wins = "-" if cell["wins"] is None else f"{cell['wins']:.0%}"
            difference = f"{_signed(cell['mean'], digits)} {_interval(cell['ci95'], digits)}"
            rows.append([label, metric, difference, *ends, *tests, wins])
    return "\n".join([*lines, *_aligned(rows), *_ranks(result), *_features(result), *_classes(result)]) + "\n"


def _ranks(result: Mapping[str, Any]) -> list[str]:
    tables = [(m, over, t) for m, each in result["ranks"].items() for over, t in _named(each, result["unit"])]
    if not tables:
        return []
    rows = [["mean rank (1 is best)", *result["runs"], "critical difference", "Friedman p"]]
    for metric, over, t in tables:
        ranks = [f"{rank:.2f}" for rank in t["mean_ranks"]]
        rows.append([f"{metric}, over {t['n']} {over}", *ranks, f"{t['critical_difference']:.2f}", _p(t["p_value"])])
    return ["", *_aligned(rows)]


def _features(result: Mapping[str, Any]) -> list[str]:
    if not result["features"]:
        return []
    rows = [["over features", *result["runs"], "n"]]
    for key, each in result["features"].items():
        rows.append([key, *(f"{cell['mean']:.4g}" for cell in each.values()), str(next(iter(each.values()))["n"] or "-")])
    return ["", "One value of a whole set, mean over seeds: not paired, no test", "", *_aligned(rows)]


def _classes(result: Mapping[str, Any]) -> list[str]:
    """McNemar's and DeLong's tests of classifiers."""
    if not result.get("classifiers"):
        return []
    rows = [["run", "test", f"minus {result['baseline']} [95%]", "p"]]
    for label, tests in result["classifiers"].items():
        if tests["mcnemar"]:
            right = tests["mcnemar"]
            rows.append([label, "decisions (McNemar)", f"only right {right['only_a']}, {right['only_b']}", _p(right["p_value"])])
        for name, test in tests["delong"].items():
            if test is not None and test["p_value"] is not None:
                gain = f"{_signed(test['difference'], 4)} {_interval(test['ci95'], 4)}"
                rows.append([label, f"AUC of {name} (DeLong)", gain, _p(test["p_value"])])
    return ["", f"Classifiers, paired over {result['unit']}s; p not adjusted; seeds' probabilities averaged", "", *_aligned(rows)]


def _mean(cell: Mapping[str, Any], metric: str) -> str:
    if cell["mean"] is None:
        return "-"
    digits = DIGITS.get(metric, 4)
    spread = f", seeds \N{PLUS-MINUS SIGN}{cell['seed_std']:.{digits}f}" if cell["seed_std"] is not None else ""
    interval = f" [{cell['ci95'][0]:.{digits}f}, {cell['ci95'][1]:.{digits}f}]" if cell["ci95"] else ""
    return f"{cell['mean']:.{digits}f}{interval}{spread}"


def _decimals(interval: list[float] | None, metric: str) -> int:
    """Those of the metric, and more where the interval is so narrow that they would not show two of its digits."""
    width = interval[1] - interval[0] if interval else 0.0
    return max(DIGITS.get(metric, 4), min(8, 1 - math.floor(math.log10(width)))) if width > 0 else DIGITS.get(metric, 4)


def _signed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"


def _interval(interval: list[float] | None, digits: int) -> str:
    return f"[{_signed(interval[0], digits)}, {_signed(interval[1], digits)}]" if interval else "-"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
