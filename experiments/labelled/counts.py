"""How many images there are of each class in the table at hand, and how often they would have to come to make 5,000.

The whole table of ChestX-ray14 is rarely at hand. What an earlier look at it counted stands beside, as cited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from experiments.labelled.runs import Study, config_of
from medjax.build import data as build_data
from medjax.data.records import Record

CLASSES = ("No Finding", "Mass", "Pneumonia")
WANTED = 5000  # images of each class, as published
WHOLE = 112_120  # images of ChestX-ray14
CITED = {
    "No Finding": {"any": 60_361, "single": 60_361},
    "Mass": {"any": 5782, "single": 2139},
    "Pneumonia": {"any": 1431, "single": 322, "pa": 630, "patients": 1008},
}
CITED_OVERLAP = {"Mass + Pneumonia": 71}
LABELS = 14  # of ChestX-ray14, beside No Finding; ChestX-ray8 has eight


def measure(study: Study) -> dict[str, Any]:
    """`of_records` of the whole table at hand, whatever its labels, with its kind and whether it is all of ChestX-ray14."""
    config = config_of(study, f"cgan_{study.main}")
    config.data.update(labels="none", classes=(), columns=(), limit=0)
    if config.data.source == "nih_cxr14":
        config.data.nih_cxr14.update(labels=(), views=(), missing="skip")
    source, _ = build_data.open_source(config)
    found = of_records(source.records)
    return {"source": source.kind, "whole": study.real and found["images"] >= WHOLE, **found}


def of_records(records: Sequence[Record]) -> dict[str, Any]:
    """`{"images", "several": images with two labels or more, "labels": how many there are, "classes", "overlap"}`.

    classes: {class: images that have it (`any`), that have nothing else (`single`), frontal ones taken from behind (`pa`) and
    `patients` of `any`, `repeat_any` and `repeat_single`: how often each comes in 5,000}.
    """
    classes = {name: _of_class(name, records) for name in CLASSES}
    overlap = {f"{a} + {b}": sum(a in r.labels and b in r.labels for r in records) for a, b in combinations(CLASSES, 2)}
    several = sum(len(r.labels) > 1 for r in records)
    labels = len({label for r in records for label in r.labels} - {"No Finding"})
    return {"images": len(records), "several": several, "labels": labels, "classes": classes, "overlap": overlap}


def _of_class(name: str, records: Sequence[Record]) -> dict[str, Any]:
    mine = [r for r in records if name in r.labels]
    alone = sum(len(r.labels) == 1 for r in mine)
    people = len({r.patient for r in mine})
    found = {"any": len(mine), "single": alone, "pa": sum(r.view == "PA" for r in mine), "patients": people}
    return {**found, "repeat_any": repeat(len(mine)), "repeat_single": repeat(alone)}


def repeat(count: int) -> float | None:
    """How often each of `count` images comes in 5,000; None where there is none."""
    return WANTED / count if count else None


def known(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Counts of a class in all of ChestX-ray14: those of the table at hand where it is all of it, else those cited."""
    if found["whole"]:
        return found["classes"][name]
    cited = CITED[name]
    return {**cited, "repeat_any": repeat(cited["any"]), "repeat_single": repeat(cited["single"])}


def overlap(found: Mapping[str, Any], pair: str = "Mass + Pneumonia") -> int:
    """Images of ChestX-ray14 that show two of the classes, known as above."""
    return found["overlap"][pair] if found["whole"] else CITED_OVERLAP[pair]


def told(found: Mapping[str, Any]) -> list[str]:
    """The counts for the user."""
    lines = [f"{found['source']}: {found['images']} images, {found['several']} of them with two labels or more"]
    for name, each in found["classes"].items():
        often = f"x{each['repeat_any']:.4g} to make {WANTED:,}" if each["repeat_any"] else "none"
        lines.append(f"  {name}: {each['any']} ({each['single']} with no other label), {often}")
    return lines
