"""What a report says of a generator: beside the floor of real images, class by class, with its nearest approaches to copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.evaluate import Evaluation
from medjax.figures import generation as figures
from medjax.figures.style import NAMES
from medjax.figures.training import quality_curves
from medjax.metrics import markdown_sets as words
from medjax.report.html import Section, figure, table, text

TITLES = {
    "fid": "FID", "fd": "Frechet", "kid": "KID", "precision": "precision", "recall": "recall", "density": "density",
    "coverage": "coverage", "mmd": "Gaussian MMD", "fd_infinity": "Frechet, n to infinity", "fid_infinity": "FID, n to infinity",
}  # fmt: skip
WATCHED = ("swd", "similarity", "d_real")
UNIT = "distances are root mean square differences of grey levels in [0, 1], of the images reduced to 32 pixels"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence for each of what matters: distance beside the floor, diversity, copies."""
    parts = []
    model, real = (summary["features"].get(row, {}) for row in ("model", "real"))
    for key, entry in model.items():
        metric, _, network = key.partition("/")
        if metric in ("fd", "fid") and entry.get("value") is not None:
            told = f"Over `{network}` its Frechet distance is **{words.record(entry)}**"
            parts.append(f"{told}; as many real images have {words.record(real.get(key))}.")
    pooled = summary["diversity"].get("all") or next(iter(summary["diversity"].values()), None)
    if pooled:
        parts.append(f"Two images of a class are **{words.record(pooled['ratio'])}** times as alike as two real ones (MS-SSIM).")
    copies = next(iter(summary["memorisation"].values()))
    parts.append(
        f"Its images lie **{copies['ratio']:.2f}** times as far from the nearest training image as held-out real images "
        f"do (medians); {copies['closer']:.0%} are nearer than the nearest twentieth of those."
    )
    return f"Compared with {summary['n']} held-out images: " + " ".join(parts)


def sections(summary: Mapping[str, Any], evaluation: Evaluation) -> list[Section]:
    """The report's part on an evaluation."""
    return [
        Section("Samples", sample_blocks(summary, evaluation.examples)),
        Section("How far from real images?", distance_blocks(summary)),
        Section("How many different images?", diversity_blocks(summary)),
        Section("Copies of training images?", copy_blocks(summary, evaluation)),
        Section("What is its discriminator worth?", discriminator_blocks(summary)),
        Section("Does a classifier see the class asked for?", classifier_blocks(summary)),
    ]


def sample_blocks(summary: Mapping[str, Any], examples: Mapping[str, np.ndarray]) -> list[str]:
    """For each class a row of generated and a row of held-out images, the first of the split: not chosen."""
    if "generated" not in examples:
        return []
    classes, rows = summary["classes"], {}
    places = dict(zip(classes, np.unique(examples["real_label"]), strict=True))
    for name, k in places.items():
        for kind in ("generated", "real"):
            rows[f"{name},\n{kind}"] = examples[kind][examples[f"{kind}_label"] == k]
    caption = (
        "For each class the first generated images above the first real images of the split. Nothing is chosen, no grey level is "
        "stretched. **Generated images show no patient.**"
    )
    return [figure(figures.classes(rows), caption)]


def distance_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A table for each network over all images, one for the classes, and what could not be measured."""
    blocks = _tables({"": summary["features"]}) + _tables(summary["features_by_class"])
    if blocks:
        notes = {e["warning"] for rows in summary["features"].values() for e in rows.values() if "warning" in e}
        blocks.append(text(
            "`real` are training images, as many as are generated: the floor. Frechet, KID and MMD: lower is better, the others: "
            f"higher. Intervals of 95%. {' '.join(f'{note}.' for note in sorted(notes))}"
        ))  # fmt: skip
        swd = [[NAMES.get(row, row), *(f"{v:.4f}" for v in each.values())] for row, each in summary["swd"].items()]
        header = ("", *(name.replace("swd/", "patches at ") for name in next(iter(summary["swd"].values()))))
        blocks.append(table(header, swd, caption="Sliced Wasserstein distance over patches, no network: lower is better."))
    absent = [f"- {each['network']}: {each['why']}." for each in summary["features_absent"]]
    return blocks + ([text("Not measured:\n\n" + "\n".join(absent))] if absent else [])


def _tables(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """One table for each network, a line for each group and row."""
    keys = list(dict.fromkeys(key for rows in groups.values() for found in rows.values() for key in found))
    blocks = []
    for network in dict.fromkeys(key.partition("/")[2] for key in keys):
        names, body = [key for key in keys if key.partition("/")[2] == network], []
        entries = [e for rows in groups.values() for found in rows.values() for k, e in found.items() if k in names]
        for group, rows in groups.items():
            for row, found in rows.items():
                cells = [words.record(found.get(key)) for key in names]
                body.append([*([group] if group else []), NAMES.get(row, row), *cells, words.counted(found, names)])
        whose = next((f" Weights: {e['weights']}." for e in entries if "weights" in e), "")
        header = ["", *(TITLES.get(key.partition("/")[0], key) for key in names), "n"]
        header = ["class", *header] if any(groups) else header
        strong = [i for i, line in enumerate(body) if NAMES["model"] in line[:2]]
        caption = f"Over `{network}`{', class by class' if any(groups) else ''}.{whose}"
        blocks.append(table(header, body, caption=caption, strong=strong))
    return blocks


def diversity_blocks(summary: Mapping[str, Any]) -> list[str]:
    """MS-SSIM of pairs within each class, beside that of real pairs."""
    body = [
        [name, words.cell(each["model"]), words.cell(each["real"]), words.record(each["ratio"])]
        for name, each in summary["diversity"].items()
    ]
    caption = "MS-SSIM of two images of one class [95%] (pairs): 1 for copies of one image. Ratio above 1: less diverse."
    return [table(("class", "generated", "real", "ratio"), body, caption=caption)] if body else []


def copy_blocks(summary: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
    """Distances to the nearest training image in every space, their histogram, and the closest pairs."""
    body = [
        [space, words.cell(e["generated"]), words.cell(e["held_out"]), f"{e['ratio']:.3f}", f"{e['closer']:.1%}", e["n_train"]]
        for space, e in summary["memorisation"].items()
    ]
    header = ("space", "generated", "held-out real", "ratio of medians", "nearer than 5% of held out", "training images")
    caption = f"Mean distance to the nearest training image [95%] (n); from 1 on without copies. Grey levels: {UNIT}."
    blocks = [table(header, body, caption=caption)]
    found = {row: values["nearest"][np.isfinite(values["nearest"])] for row, values in evaluation.scores.items()}
    blocks.append(figure(figures.distances(found), "Distances by grey levels; dashed: the medians."))
    examples = evaluation.examples
    if "copy" in examples:
        shown = {"generated": "copy", "held out": "new"}
        pairs = {told: (examples[n], examples[f"{n}_nearest"], examples[f"{n}_distance"]) for told, n in shown.items()}
        of = ", ".join(f"`{name}`" for name in examples["copy_of"])
        caption = (
            f"The generated images nearest to any training image, above these ({of}), and for scale the held-out images that are "
            "nearest to one; the distance above each pair."
        )
        blocks.append(figure(figures.nearest(pairs), caption))
    return blocks


def discriminator_blocks(summary: Mapping[str, Any]) -> list[str]:
    """Calibration of the discriminator, and what the published threshold lets pass."""
    found = summary["discriminator"]
    lines = words.discriminator_lines(summary)
    drawn = figures.reliability(found["reliability"], found["ece"], found["threshold"])
    caption = "How often images are real by the probability they were given, real and generated ones weighted alike."
    return [text("\n".join(f"- {line}." for line in lines)), figure(drawn, caption)]


def classifier_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A classifier's decisions on generated images, beside those on held-out real ones."""
    found = summary.get("classifier")
    if not found:
        return []
    names: Sequence[str] = ("balanced_accuracy", "accuracy", "auc")
    rows = {"real": "held-out real", "model": "generated"}
    body = [[told, *(words.cell(found[row][name]) for name in names)] for row, told in rows.items()]
    caption = f"The classifier `{found['workdir']}` [95%] (n): generated images judged by the class that was asked for."
    return [table(("", "balanced accuracy", "accuracy", "AUC"), body, caption=caption, strong=[1])]


def training_blocks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Validation scores of sets over training, where a generator was trained."""
    if not any("swd" in row for row in rows if row["split"] == "validation"):
        return []
    caption = (
        "Validation during training: sliced Wasserstein distance, likeness of two generated images of a class (MS-SSIM), and the "
        "share of held-out images that the discriminator takes for real; near 0 there it knows the training images by heart."
    )
    return [figure(quality_curves(rows, metrics=WATCHED), caption)]
