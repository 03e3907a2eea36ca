"""The tables of costs: memory of a training step, and operations of the whole training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.benchmarks.memory import FORMS, GIB, NOTES, total
from medjax import report

TITLES = {"plain": "as it is", "remat": "rematerialised", "micro": "micro-batches of 1", "remat, micro": "both"}


def memory(found: Mapping[str, Any]) -> list[str]:
    """GiB of each system, batch and form, and the verdict."""
    rows = {(r["system"], r["batch"], r["form"]): r for r in found["rows"]}
    body = []
    systems = list(dict.fromkeys(r["system"] for r in found["rows"]))
    for system, batch in sorted({(r["system"], r["batch"]) for r in found["rows"]}, key=lambda k: (systems.index(k[0]), k[1])):
        sizes = [total(rows[system, batch, form]) if (system, batch, form) in rows else None for form in FORMS]
        body.append((system, batch, *("–" if size is None else f"{size / GIB:.2f}" for size in sizes)))
    caption = (
        "GiB of the compiled training step by XLA's memory analysis. – : not compiled within the study's time, or no such form;"
        f" `python -m experiments.benchmarks.memory` measures all of it. {found['verdict'].capitalize()}: {found['how']}."
    )
    table = report.table(("", "batch", *TITLES.values()), body, caption=caption)
    return [table, report.text("\n".join(f"- {note}." for note in (NOTES[0], *NOTES[2:])))]


def training(found: Mapping[str, Any]) -> str:
    """Whether the training fits into the time that is stated, by width."""
    body = []
    for width, row in found["widths"].items():
        parameters = ", ".join(f"{net} {count:,}" for net, count in row["parameters"].items())
        body.append((width, f"{row['gflop']:.2f}", f"{row['tflops']:.2f}", f"{row['share']:.0%}", parameters))
    caption = (
        f"Width: features at half the size; {found['rate']:.0f} images of {found['pixels']} pixels a second, as 500 epochs of"
        f" 15,000 in 12 hours need; the card's peak in float32 is {found['peak'] / 1e12:.2f} TFLOP/s."
    )
    header = ("width", "GFLOP an image", "TFLOP/s needed", "share of the peak", "parameters")
    return report.table(header, body, caption=caption)
