"""Memory of a training step, by `benchmarks.memory`, within a budget of time: the forms as published come first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks import memory
from experiments.labelled.runs import Study
from medjax.build import config as configs


def measure(study: Study) -> dict[str, Any]:
    """`{"scale", "versions", "rows", "verdict", "how"}` as the benchmark writes them: its own result file may stand in place of
    this one. A row for which the seconds did not last says so in `failed`.
    """
    scale, begun, rows = study.scale, time.perf_counter(), []
    for system, batch, form in order(study):
        left = scale.memory_seconds - (time.perf_counter() - begun)
        if left <= 0:
            rows.append({"system": system, "batch": batch, "form": form, "failed": "left out for want of time"})
            continue
        apart = scale.memory != "tiny"
        rows.append(memory.measure(scale.memory, system, batch, form, process=False, seconds=max(left, 1.0), apart=apart))
    word, reason = memory.verdict(rows)
    return {"scale": scale.memory, "versions": configs.versions(), "rows": rows, "verdict": word, "how": reason}


def order(study: Study) -> Iterator[tuple[str, int, str]]:
    """(system, batch, form): every system and batch as it is, then with what saves memory, the largest batch first."""
    scale = study.scale
    for form in scale.forms:
        for batch in scale.batches if form == "plain" else scale.batches[::-1]:
            for system in memory.SYSTEMS[scale.memory]:
                if batch > 1 or "micro" not in form:
                    yield system, batch, form
