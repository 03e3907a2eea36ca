"""A classifier's judgement of sets of images as a table: header and rows of text, for Markdown and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax.metrics.judgement import SHOWN
from medjax.metrics.markdown_sets import grid

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
HEADER = ("images", "n", *TITLES.values(), "most frequent class", "grey level AUC", "McNemar p", "adjusted", "gap closed")
NONE = "–"


def cells(found: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> list[list[str]]:
    """A row of text for each set, under `HEADER`; names: {set: what the table calls it}."""
    body = []
    for name, row in found["rows"].items():
        test, level = found["tests"].get(name, {}), found.get("baselines", {}).get(name, {}).get("grey")
        paired = "mcnemar" in test
        closed = found["gap"].get(name, {}).get("accuracy")
        body.append([
            (names or {}).get(name, name),
            f"{row['n']}" + (f" ({row['images']} images)" if row["images"] != row["n"] else ""),
            *(value(row[metric]) for metric in SHOWN),
            f"{row['majority']:.3f}",
            value(level["auc"]) if level else NONE,
            f"{test['mcnemar']['p_value']:.2g}" if paired else NONE,
            f"{test['mcnemar_holm']:.2g}" if paired else NONE,
            share(closed),
        ])  # fmt: skip
    return body


def value(entry: Mapping[str, Any] | None) -> str:
    """A share with its interval, three decimals."""
    if not entry or entry.get("mean") is None:
        return NONE
    ends = entry.get("ci95")
    return f"{entry['mean']:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def share(closed: Mapping[str, Any] | None) -> str:
    """The share of the gap closed with its interval, or that it is undefined."""
    if closed is None:
        return NONE
    if closed["value"] is None:
        return "undefined"
    return (
        f"{closed['value']:.0%} [{closed['ci95'][0]:.0%}, {closed['ci95'][1]:.0%}]"
        if closed["ci95"]
        else f"{closed['value']:.0%}"
    )


def notes(found: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> list[str]:
    """What a reader must know beside the figures, a sentence each; names: as of `cells`."""
    called = lambda name: (names or {}).get(name, name)  # noqa: E731
    rows, low, high = found["rows"], found["low"], found["high"]
    ends = [rows[name]["accuracy"]["mean"] for name in (low, high)]
    told = [
        f"Positive: {found['positive']}. 95% intervals over patients by bootstrap, of the AUC DeLong's; McNemar's exact test "
        f"over patients against `{low}`, adjusted by Holm; gap closed: (row - {low}) / ({high} - {low}) in accuracy"
    ]
    undefined = {each["accuracy"]["why"] for each in found["gap"].values() if each["accuracy"]["value"] is None}
    told += [f"Gap closed: {why}" for why in sorted(undefined)]
    if found["needed"] is not None:
        told.append(
            f"To tell {ends[0]:.3f} from {ends[1]:.3f} with a power of 0.8, two independent sets need {found['needed']} images "
            f"each; there are {rows[low]['images']} and {rows[high]['images']}"
        )
    told += [f"{called(name)}: {test['why']}" for name, test in found["tests"].items() if "why" in test]
    chance = [f"{called(name)} {each['mean']:.3f} (p = {each['p_value']:.2g})" for name, each in found["chance"].items()]
    return [*told, f"Balanced accuracy with labels dealt at random, and whether the classifier is better: {', '.join(chance)}"]


def table(found: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> str:
    """Markdown: the table, then the notes."""
    return "\n".join([*grid(HEADER, cells(found, names=names)), "", *(f"- {line}." for line in notes(found, names=names))]) + "\n"
