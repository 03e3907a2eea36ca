"""The report of a run: `report.html`, one file that says what was run, on what, how well it does, and how sure that is.

Made from what the workdir holds: config.json, metrics.jsonl, evaluation.json and .csv, examples.npz, claims.json. What
is absent is left out, what is there is not embellished. Studies compose their own pages of the same parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax import evaluate
from medjax.report import classification, generation, unpaired
from medjax.report.blocks import (
    dataset_name,
    group_blocks,
    result_blocks,
    score_blocks,
    training_blocks,
    uncertainty_blocks,
    verdict,
)
from medjax.report.features import feature_blocks
from medjax.report.html import Section, claims_table, details, note, page, save, table, text, warning
from medjax.report.pictures import picture_blocks
from medjax.report.regions import many
from medjax.types import DataError
from medjax.writers import read_metrics

PHANTOM = (
    "**These are phantoms, not patients.** Every image was drawn by a computer from a model of the chest. The figures "
    "show that the method works and compare methods with each other; they say nothing about real radiographs."
)
REAL = (
    "**These are real images** ({name}). The degradation, where one is stated in the protocol, was added by computer."
)


def build(workdir: str | Path, *, run: str | Path | None = None, title: str = "") -> Path:
    """Write `report.html` into `workdir`; returns its path. Raises DataError where there is nothing to report.

    run: the run's own workdir, where the evaluation was written elsewhere: config and metrics are read there.
    """
    workdir = Path(workdir)
    run = workdir if run is None else Path(run)
    config = _json(run / "config.json")
    rows = read_metrics(run)
    summary, evaluation = evaluate.read(workdir) if (workdir / "evaluation.json").exists() else (None, None)
    claims = _json(workdir / "claims.json")
    if not (summary or rows or claims):
        raise DataError(f"{workdir} holds nothing to report: no evaluation.json, metrics.jsonl or claims.json")
    sections = [Section("", _opening(summary, config)), Section("What was run", _run(config, summary, rows))]
    if summary is not None:
        sections += KINDS[_kind(summary)][1](summary, evaluation)
        sections += [Section("Between the pools", unpaired.blocks(summary))] if "unpaired" in summary else []
    curves = (training_blocks, classification.training_blocks, generation.training_blocks)
    sections.append(Section("Training", [block for blocks in curves for block in blocks(rows)]))
    sections.append(Section("Claims of the paper", [claims_table(claims)] if claims else []))
    sections.append(Section("Protocol and versions", _protocol(summary, config)))
    return save(workdir / "report.html", page(title or _title(config), sections, subtitle=_subtitle(summary)))


def _kind(summary: Mapping[str, Any]) -> str:
    return summary.get("kind", "image")


def _image_sections(summary: Mapping[str, Any], evaluation: evaluate.Evaluation) -> list[Section]:
    return [
        Section("Results", result_blocks(summary)),
        Section("Over feature networks", feature_blocks(summary)),
        Section("Pictures", _pictures(summary, evaluation)),
        Section("Image by image", score_blocks(summary, evaluation)),
        Section("Is the deviation map worth anything?", uncertainty_blocks(summary)),
        Section("By group", group_blocks(summary)),
    ]


# what was judged ("kind" of the result file) -> (the result in one sentence, the sections on it)
KINDS = {
    "image": (verdict, _image_sections),
    "classification": (classification.verdict, classification.sections),
    "generation": (generation.verdict, generation.sections),
    "unpaired": (unpaired.verdict, unpaired.sections),
}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def _title(config: Mapping[str, Any] | None) -> str:
    settings = (config or {}).get("config", {})
    name, variant = settings.get("name", "medjax run"), settings.get("variant", "")
    return f"{name}:{variant}" if variant else str(name)


def _subtitle(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "Not evaluated yet."
    return f"{dataset_name(summary['dataset'])}, {summary['split']} split, {many(summary)}"


def _pictures(summary: Mapping[str, Any], evaluation: evaluate.Evaluation) -> list[str]:
    inside = any("psnr_inside" in values for values in summary["rows"].values())
    count, measure = summary.get("images", summary["n"]), "PSNR inside the region" if inside else "PSNR"
    return picture_blocks(evaluation.examples, n=count, split=summary["split"], measure=measure)


def _opening(summary: Mapping[str, Any] | None, config: Mapping[str, Any] | None) -> list[str]:
    """Phantom or real, the result in one sentence, and what is to be feared."""
    trained = str((config or {}).get("config", {}).get("data", {}).get("source", ""))
    judged = dataset_name(summary["dataset"]) if summary else trained
    blocks = []
    if judged:
        blocks.append(warning(PHANTOM) if "phantom" in judged.lower() else note(REAL.format(name=judged)))
    if trained and ("phantom" in trained) != ("phantom" in judged.lower()):
        blocks.append(warning(f"The model was trained on {trained} and is judged here on {judged}."))
    if summary:
        blocks += [text(KINDS[_kind(summary)][0](summary)), *(warning(message) for message in summary.get("warnings", ()))]
    return blocks


def _run(config: Mapping[str, Any] | None, summary: Mapping[str, Any] | None, rows: Sequence[Mapping]) -> list[str]:
    settings, versions = (config or {}).get("config", {}), (config or {}).get("versions", {})
    data = settings.get("data", {})
    facts = {
        "config": _title(config) if config else None,
        "trained on": data.get("source"),
        "judged on": _subtitle(summary) if summary else None,
        "steps of training": f"{max((row['step'] for row in rows if row['split'] == 'train'), default=0):,}"
        if rows
        else None,
        "batch size": data.get("batch_size"),
        "seed": settings.get("seed"),
        "device": versions.get("device"),
        "commit": versions.get("commit"),
    }
    known = [(name, value) for name, value in facts.items() if value not in (None, "")]
    return [table(("", ""), known)] if known else []


def _protocol(summary: Mapping[str, Any] | None, config: Mapping[str, Any] | None) -> list[str]:
    """How the numbers were made, in the words of the result file; then versions and the whole config, folded."""
    blocks = []
    if summary is not None:
        stated = [
            (name.replace("_", " "), _words(value)) for name, value in summary["protocol"].items() if value is not None
        ]
        blocks.append(table(("", ""), stated))
    versions = {**(summary or {}).get("versions", {}), **(config or {}).get("versions", {})}
    if versions:
        blocks.append(text("Versions: " + ", ".join(f"{name} {value}" for name, value in versions.items()) + "."))
    if config:
        blocks.append(details("The whole config", json.dumps(config, indent=2)))
    return blocks


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_words(part)}" for name, part in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, (list, tuple)) else str(value)
