"""The one table of a random search: Markdown to read, CSV and JSON to compute with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.sweeping.trials import Search
from medjax.build import config as configs
from medjax.files import replace
from medjax.metrics.markdown_sets import grid


def write(search: Search, rows: Sequence[dict[str, Any]]) -> Path:
    """`sweep.json`, `sweep.csv` and `sweep.md` of the rows as `trials.run` gives them; prints the last, and returns its path."""
    metric, mode = search.best
    fields = [each.field for each in search.ranges]
    header = ("rank", "trial", metric, "at step", "of", *fields, "note")
    body = [
        [i, row["trial"], row["value"], row["step"], row["steps"], *(row["fields"][f] for f in fields), row["why"]]
        for i, row in enumerate(rows, 1)
    ]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *[["" if v is None else v for v in line] for line in body]])
    told = {
        "config": f"{search.config.name}:{search.config.variant}", "digest": search.digest(), "seed": search.seed,
        "best": f"{metric}:{mode}", "fields": {each.field: [each.kind, *each.ends] for each in search.ranges},
        "trials": list(rows), "versions": configs.versions(),
    }  # fmt: skip
    lines = grid(header, [[_cell(value) for value in line] for line in body])
    ranges = "; ".join(f"{each.field} {each.kind} {', '.join(map(str, each.ends))}" for each in search.ranges)
    opening = (
        f"{told['config']} (digest {told['digest']}), {len(rows)} trials, seed {search.seed}, by {metric} ({mode}) of the"
        f" validation images at its best. Drawn from: {ranges}."
    )
    replace(search.workdir / "sweep.json", json.dumps(told, indent=1, allow_nan=False) + "\n")
    replace(search.workdir / "sweep.csv", text.getvalue())
    path = search.workdir / "sweep.md"
    replace(path, "\n".join([opening, "", *lines, "", "The best of many trials is partly luck: see the seeds again.", ""]))
    print(path.read_text())
    return path


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
