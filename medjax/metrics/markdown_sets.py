"""The result file of a generator as text: distances between sets, diversity, copies, and what its discriminator is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROWS = {"nearest": "distance to the nearest training image", "d_probability": "discriminator", "similarity": "MS-SSIM in a class"}


def table(summary: Mapping[str, Any]) -> str:
    """Markdown: every distance with its interval and n, then what is told of single images and pairs, then warnings."""
    many = ", ".join(f"{name} {rows['held_out']}" for name, rows in summary["class_counts"].items())
    lines = [f"{summary['dataset']}, {summary['split']} split, n = {summary['n']} images compared with ({many})"]
    lines += distance_lines(summary["features"])
    for name, rows in summary["features_by_class"].items():
        lines += ["", f"class {name}", *distance_lines(rows)]
    lines += [f"\n- {each['network']}: not measured, {each['why']}" for each in summary["features_absent"]]
    told = [name for name in ROWS if any(name in cells for cells in summary["rows"].values())]
    body = [[row, *(cell(cells.get(name)) for name in told)] for row, cells in summary["rows"].items()]
    lines += ["", "mean [95% interval] (n)", "", *grid(("row", *(ROWS[name] for name in told)), body)]
    lines += ["", *[f"- {line}" for line in (*diversity_lines(summary), *copy_lines(summary), *discriminator_lines(summary))]]
    lines += [f"- {line}" for line in classifier_lines(summary)]
    lines += [f"\nWARNING: {warning}" for warning in summary.get("warnings", ())]
    return "\n".join(lines) + "\n"


def distance_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table for each network: a row of images against those compared with."""
    lines = []
    keys = list(dict.fromkeys(key for records in rows.values() for key in records))
    for network in dict.fromkeys(key.partition("/")[2] for key in keys):
        names = [key for key in keys if key.partition("/")[2] == network]
        body = [[row, *(record(found.get(key)) for key in names), counted(found, names)] for row, found in rows.items()]
        whose = next((r["weights"] for found in rows.values() for k, r in found.items() if k in names and "weights" in r), "")
        lines += ["", f"over {network}{f' ({whose})' if whose else ''}", ""]
        lines += grid(("row", *(name.partition("/")[0] for name in names), "n"), body)
    return lines


def counted(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """How many images a row has."""
    return str(next((found[name]["n"][1] for name in names if name in found), "-"))


def record(entry: Mapping[str, Any] | None) -> str:
    """A distance with its interval where it has one; a dash where so few images give none."""
    if not entry or entry.get("value") is None:
        return "-"
    ends = entry.get("ci95")
    return f"{entry['value']:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")


def cell(entry: Mapping[str, Any] | None) -> str:
    """A mean with its interval and n."""
    if not entry or entry.get("mean") is None:
        return "-"
    ends = entry.get("ci95")
    return f"{entry['mean']:.4f}" + (f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else "") + f" ({entry['n']})"


def share(entry: Mapping[str, Any]) -> str:
    """A share with its interval and how many of how many."""
    low, high = entry["ci95"]
    return f"{entry['rate']:.1%} [{low:.1%}, {high:.1%}] ({entry['count']} of {entry['n']})"


def diversity_lines(summary: Mapping[str, Any]) -> list[str]:
    """Whether the images of a class are as unlike each other as real ones are."""
    return [
        f"likeness of two images of {name}: generated {cell(each['model'])}, real {cell(each['real'])}; "
        f"ratio {record(each['ratio'])}"
        for name, each in summary["diversity"].items()
    ]


def copy_lines(summary: Mapping[str, Any]) -> list[str]:
    """Whether generated images lie nearer to training images than new real ones do."""
    return [
        f"nearest training image by {space} (of {each['n_train']}): generated {cell(each['generated'])}, held out "
        f"{cell(each['held_out'])}; ratio of medians {each['ratio']:.3f} (1 or more without copies); nearer than the nearest "
        f"twentieth of held-out images: {each['closer']:.1%}"
        for space, each in summary["memorisation"].items()
    ]


def discriminator_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the discriminator's probabilities are worth, and what a threshold on them lets pass."""
    found = summary["discriminator"]
    what = "probability" if found["adversary"] == "vanilla" else "score (no probability)"
    names = {"real": "held-out real", "generated": "generated", "train": "training"}
    sides = [f"{told} {cell(found[side])}" for side, told in names.items()]
    passing = "; ".join(f"{row} {share(each)}" for row, each in found["passing"].items())
    bound = f"at most {found['most_of_an_optimal_discriminator']:.1%} of the generated for an optimal one"
    return [
        f"discriminator ({found['adversary']}), mean {what}: {', '.join(sides)}; Brier {found['brier']:.3f} (a coin: 0.25), "
        f"calibration error {found['ece']:.3f}",
        f"{what} of {found['threshold']:g} or more: {passing}; {bound}",
    ]


def classifier_lines(summary: Mapping[str, Any]) -> list[str]:
    """Whether a classifier sees in images the class that was asked for."""
    found = summary.get("classifier")
    if not found:
        return []
    rows = {"model": "generated", "real": "held-out real"}
    parts = [f"{told} {cell(found[row]['balanced_accuracy'])}" for row, told in rows.items()]
    return [f"balanced accuracy of the classifier {found['workdir']}: {', '.join(parts)}"]


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in (header, *body)]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
