"""What a report says of a classifier: against the most frequent class and the mean grey level, class by class, and how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.evaluate import Evaluation
from medjax.figures import classification as figures
from medjax.figures.style import NAMES
from medjax.figures.training import quality_curves
from medjax.metrics import hypothesis
from medjax.report.blocks import cell, p_value
from medjax.report.html import Section, figure, table
from medjax.report.regions import many

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ece": "calibration error",
}
WATCHED = ("balanced_accuracy", "auc", "accuracy")


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: the model against the mean grey level, with the doubt that is left."""
    model, level = summary["rows"].get("model", {}), summary["rows"].get("grey", {})
    opening = f"On {many(summary)} the model reaches an **AUC of {cell('auc', model.get('auc'))}** (95% interval)"
    if not level or level["auc"]["mean"] is None:
        return f"{opening}."
    tested = [test["p_value"] for test in summary["tests"]["grey"]["delong"].values() if test and test["p_value"] is not None]
    tested = tested[: 1 if len(summary["classes"]) == 2 else None]  # of two classes both tests are one
    p = min(hypothesis.holm(tested), default=None)
    told = "" if p is None else f" (DeLong, adjusted by Holm over classes: p {'' if p < 0.001 else '= '}{p_value(p)})"
    return (
        f"{opening} and a balanced accuracy of {cell('balanced_accuracy', model.get('balanced_accuracy'))}. The mean grey level "
        f"of an image alone reaches an AUC of {cell('auc', level['auc'])}{told}."
    )


def sections(summary: Mapping[str, Any], evaluation: Evaluation) -> list[Section]:
    """The report's part on an evaluation."""
    return [
        Section("Results", result_blocks(summary)),
        Section("Class by class", class_blocks(summary, evaluation)),
        Section("Is its confidence worth anything?", calibration_blocks(summary)),
        Section("By group", group_blocks(summary)),
    ]


def result_blocks(summary: Mapping[str, Any]) -> list[str]:
    """The table of rows, and the paired tests of the model against the others."""
    rows = summary["rows"]
    body = [[NAMES.get(r, r), *(cell(m, v.get(m)) for m in METRICS), summary["images"]] for r, v in rows.items()]
    caption = (
        "[95% interval over patients]. Balanced accuracy is the mean over classes of sensitivity; sensitivity, specificity and "
        "AUC are means over classes, each against the rest. Calibration error: lower is better."
    )
    strong = [i for i, row in enumerate(rows) if row == "model"]
    blocks = [table(("", *METRICS.values(), "n"), body, caption=caption, strong=strong)]
    lines = []
    for row, tests in summary.get("tests", {}).items():
        name = NAMES.get(row, row)
        if tests["mcnemar"]:
            right = tests["mcnemar"]
            told = f"only the model right {right['only_a']}, only {name} right {right['only_b']}"
            lines.append((f"model against {name}", "decisions (McNemar)", told, p_value(right["p_value"])))
        for label, test in tests["delong"].items():
            gain = "–" if test is None else cell("auc", {"mean": test["difference"], "ci95": test["ci95"]}, sign=True)
            lines.append((f"model minus {name}", f"AUC of {label} (DeLong)", gain, p_value(test and test["p_value"])))
    if lines:
        blocks.append(
            table(("", "", "difference", "p"), lines, caption="Paired tests over patients, not adjusted for their number.")
        )
    return blocks


def class_blocks(summary: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
    """Each class against the rest, the table of confusions, and the ROC curves."""
    names = ("sensitivity", "specificity", "auc")
    body = [
        [label, NAMES.get(row, row), *(cell(m, found[label][m]) for m in names), summary["class_counts"][label]]
        for label in summary["classes"]
        for row, found in summary["by_class"].items()
    ]
    header = ("class", "row", *(METRICS[m] for m in names), "images")
    strong = [i for i, line in enumerate(body) if line[1] == "model"]
    blocks = [table(header, body, caption="One class against the rest; AUC with DeLong's interval over patients.", strong=strong)]
    counts = np.asarray(summary["confusion"]["model"])
    if counts.ndim == 2:
        drawn = figures.confusion(counts, summary["classes"])
        blocks.append(figure(drawn, "What the model takes each image for: counts, and the share of the images of that class."))
    drawn = figures.roc_curves(_scores(summary, evaluation))
    if drawn.axes:
        blocks.append(figure(drawn, "ROC curves of each class against the rest; the dotted line is chance."))
    return blocks


def _scores(summary: Mapping[str, Any], evaluation: Evaluation) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """`{class: {row: (positive, scores)}}` from the table of images."""
    true = [label.split("+") for label in evaluation.columns["label"]]
    rows = [row for row in ("grey", "model") if row in evaluation.scores]
    return {
        name: {row: (np.array([name in each for each in true]), evaluation.scores[row][f"p_{name}"]) for row in rows}
        for name in summary["classes"]
    }


def calibration_blocks(summary: Mapping[str, Any]) -> list[str]:
    """The reliability diagram of the model."""
    drawn = figures.calibration(summary["calibration"]["model"], summary["rows"]["model"]["ece"]["mean"])
    return [figure(drawn, "Decisions by the confidence they came with; below the line the model is surer than it may be.")]


def group_blocks(summary: Mapping[str, Any]) -> list[str]:
    """The model's metrics in each group of a column."""
    found = summary.get("by")
    if not found:
        return []
    shown = ("accuracy", "balanced_accuracy", "auc")
    body = []
    for group, part in found["groups"].items():
        level = part["rows"].get("grey", {}).get("auc")
        body.append([group, *(cell(m, part["rows"]["model"][m]) for m in shown), cell("auc", level), part["n"]])
    header = (found["column"], *(METRICS[m] for m in shown), "AUC of the mean grey level", "patients")
    return [table(header, body, caption="The model in each group [95% interval over patients]; small groups say little.")]


def training_blocks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Validation accuracy and AUC over training, where a classifier was trained."""
    if not any("balanced_accuracy" in row for row in rows if row["split"] == "validation"):
        return []
    drawn = quality_curves(rows, metrics=WATCHED)
    return [figure(drawn, "What the validation images said during training.")]
