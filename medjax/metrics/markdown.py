"""A result file as text: Markdown tables for the terminal and for notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.metrics import markdown_sets
from medjax.metrics.region import REGION

UNITS_SHOWN = 12  # a table of every patient, while a page holds it
SHOWN = ("psnr", "ssim", "psnr_inside", "ssim_inside")
DIGITS = {
    **dict.fromkeys(("psnr", "psnr_inside", "psnr_affine"), 2),
    **dict.fromkeys(("spectrum_ratio", "gradient_ratio", "checkerboard2", "checkerboard4"), 3),
}


def table(summary: Mapping[str, Any], *, metrics: Sequence[str] | None = None) -> str:
    """The result file as Markdown: a row each for input, baselines and model, mean with 95% interval, and n.

    `metrics` defaults to PSNR, SSIM, MS-SSIM and MAE, as far as they are there. Differences, groups, uncertainty and
    warnings follow the table.
    """
    if summary.get("kind") == "generation":
        return markdown_sets.table(summary)
    data = summary.get("dataset")
    dataset = data.get("name", data) if isinstance(data, Mapping) else data
    count = f"n = {summary['n']}"
    if "unit" in summary:
        count += f" {summary['unit']}s, {summary['images']} images"
    lines = [f"{dataset}, {summary.get('split')} split, {count}; mean [95% bootstrap interval]", ""]
    lines += _table(summary["rows"], metrics)
    if any("psnr_inside" in values for values in summary["rows"].values()):
        lines += ["", "Inside the region; _affine: after the best affine map of each output", ""]
        lines += _table(summary["rows"], tuple(REGION))
    if len(summary.get("units", ())) and len(summary["units"]) <= UNITS_SHOWN:
        lines += ["", *_unit_table(summary["units"])]
    row_of_best = summary.get("best_baseline")
    for label, entry in summary.get("differences", {}).items():
        name = entry["row"] if label != "best_baseline" else f"{entry['row']} (best baseline)"
        if label == row_of_best:
            continue
        parts = [
            f"{metric} {_cell(metric, value, sign=True)}, p = {value['p_value']:.2g}, better on {value['wins']:.0%}"
            for metric, value in entry.items()
            if metric in SHOWN and value["mean"] is not None
        ]
        lines += [""] * (label == "best_baseline") + [f"- model minus {name}, paired: {'; '.join(parts)}"] * bool(parts)
    lines += _tests(summary)
    if "uncertainty" in summary:
        parts = [f"{name} {_cell(name, value)}" for name, value in summary["uncertainty"].items() if "mean" in value]
        lines += ["", "Standard-deviation map against the error: " + "; ".join(parts)]
    lines += _features(summary)
    for name, part in summary.get("by", {}).get("groups", {}).items():
        lines += ["", f"{summary['by']['column']}: {name} (n = {part['n']})", "", *_table(part["rows"], metrics)]
    lines += [f"\nWARNING: {warning}" for warning in summary.get("warnings", ())]
    return "\n".join(lines) + "\n"


def _tests(summary: Mapping[str, Any]) -> list[str]:
    """A classifier against the rows beside it: McNemar and DeLong."""
    lines = []
    for row, tests in summary.get("tests", {}).items():
        parts = [f"decisions (McNemar) p = {tests['mcnemar']['p_value']:.2g}"] if tests["mcnemar"] else []
        for name, test in tests["delong"].items():
            if test is not None and test["p_value"] is not None:
                gain = _cell("auc", {"mean": test["difference"], "ci95": test["ci95"]}, sign=True)
                parts.append(f"AUC of {name} {gain} (DeLong), p = {test['p_value']:.2g}")
        lines += [""] * (not lines) + [f"- model minus {row}, paired: {'; '.join(parts)}"] * bool(parts)
    return lines


def _table(entries: Mapping[str, Any], metrics: Sequence[str] | None) -> list[str]:
    present = next(iter(entries.values()))
    usual = [m for m in present if m in ("psnr", "ssim", "ms_ssim", "mae") or m.startswith("lpips")]
    names = metrics or usual or list(present)
    cells = [["row", *names, "n"]]
    for row, values in entries.items():
        count = max((value["n"] for value in values.values()), default=0)
        cells.append([row, *(_cell(name, values.get(name)) for name in names), str(count)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def features(found: Mapping[str, Any]) -> str:
    """Distances between sets as Markdown."""
    return "\n".join(_features(found)).lstrip("\n")


def by_network(summary: Mapping[str, Any]) -> list[tuple[str, list[str], dict[str, Any], list[str]]]:
    """(network and layer, its keys, a record that says how they were made, what a reader must know) of a result file."""
    records, found = [r for row in summary.get("features", {}).values() for r in row.items()], []
    for network in dict.fromkeys(key.partition("/")[2] for key, _ in records):
        own = [(key, record) for key, record in records if key.partition("/")[2] == network]
        notes = dict.fromkeys(record[name] for _, record in own for name in ("warning", "why") if name in record)
        found.append((network, list(dict.fromkeys(key for key, _ in own)), own[0][1], list(notes)))
    return found


def _features(summary: Mapping[str, Any]) -> list[str]:
    """Distances between the set of each row's images and the set of their targets; then what could not be measured."""
    rows, lines = summary.get("features", {}), []
    for network, names, first, notes in by_network(summary):
        against = summary.get("against", "each row against the targets")
        told = f"Over {network} ({first['weights']}), {against}, n = {first['n'][0]} and {first['n'][1]} images"
        lines += ["", told, ""]
        lines += ["| " + " | ".join(("row", *(name.partition("/")[0] for name in names))) + " |", "|" + "---|" * (len(names) + 1)]
        lines += ["| " + " | ".join((row, *(record(found.get(name)) for name in names))) + " |" for row, found in rows.items()]
        lines += [f"\n{note}" for note in notes]
    return lines + [f"\n- {each['network']}: not measured, {each['why']}" for each in summary.get("features_absent", ())]


def record(entry: Mapping[str, Any] | None) -> str:
    """A distance with its interval where it has one; a dash where so few images give none."""
    if not entry or entry.get("value") is None:
        return "-"
    interval = entry.get("ci95")
    return f"{entry['value']:.3g}" + (f" [{interval[0]:.2g}, {interval[1]:.2g}]" if interval else "")


def _unit_table(units: Mapping[str, Any]) -> list[str]:
    """A line per unit and row: what the means above are the means of."""
    rows_ = next(iter(units.values()))
    present = [m for m in (*SHOWN, "psnr_affine", "ssim_affine") if m in next(iter(rows_.values()))]
    lines = ["| " + " | ".join(("unit", "row", *present)) + " |", "|" + "---|" * (len(present) + 2)]
    for name, values in units.items():
        for row, found in values.items():
            cells = [f"{found[m]:.{DIGITS.get(m, 4)}f}" if found.get(m) is not None else "-" for m in present]
            lines.append("| " + " | ".join((name, row, *cells)) + " |")
    return lines


def _cell(metric: str, value: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    if not value or value.get("mean") is None:
        return "-"
    form = f"{'+' if sign else ''}.{DIGITS.get(metric, 4)}f"
    interval = value["ci95"]
    return f"{value['mean']:{form}}" + (f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else "")
