"""The trials of a random search: each trained, or read back where it is finished."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.sweeping.fields import Range, override
from medjax.build import config as configs
from medjax.build import training
from medjax.checkpoint import parse_best
from medjax.files import replace
from medjax.types import ConfigError, NonFiniteError
from medjax.writers import read_metrics

FAILED = "failed.json"


class Search(NamedTuple):
    """What was asked for. best: (metric, max or min)."""

    workdir: Path
    config: ConfigDict
    ranges: tuple[Range, ...]
    count: int
    seed: int
    best: tuple[str, str]
    progress: bool = True

    def folder(self, trial: int) -> Path:
        """The workdir of a trial."""
        return self.workdir / f"trial_{trial:03d}"

    def drawn(self, trial: int) -> dict[str, str]:
        """{field: value} of a trial, as text."""
        return {each.field: each.draw(self.seed, trial) for each in self.ranges}

    def digest(self) -> str:
        """Of the config that all trials share: the first twelve digits of its SHA-256."""
        text = json.dumps(configs.to_json(self.config), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def objective(text: str) -> tuple[str, str]:
    """`METRIC:max` or `METRIC:min`. Raises ConfigError for another word, and for step, which every trial reaches."""
    metric, mode = parse_best(text)
    if metric == "step":
        raise ConfigError("trials are compared by a metric of the validation: give one with --best, such as psnr:max")
    return metric, mode


def run(search: Search, *, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """A row for every trial: `{"trial", "fields", "value", "step", "steps", "why"}`, the best first, those without a value last.

    A trial whose loss or weights stop being finite is a finding about its fields: it is noted and the search goes on. Raises
    ConfigError for fewer than one trial, and where `workdir` holds trials of another search.
    """
    if search.count < 1:
        raise ConfigError(f"--trials must be at least 1, not {search.count}")
    _same_search(search)
    rows = []
    for trial in range(search.count):
        drawn = search.drawn(trial)
        say(f"[trial {trial} of {search.count}] {', '.join(f'{field} = {value}' for field, value in drawn.items())}")
        why = _train(search, trial, drawn, say)
        rows.append({"trial": trial, "fields": drawn, **outcome(search, trial), "why": why})
    sign = -1 if search.best[1] == "max" else 1
    return sorted(rows, key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0), row["trial"]))


def _train(search: Search, trial: int, drawn: dict[str, str], say: Callable[[str], None]) -> str:
    """Train or resume a trial; "" or why it came to nothing."""
    folder = search.folder(trial)
    if (folder / FAILED).exists():
        return json.loads((folder / FAILED).read_text())["why"]
    config = override(search.config, [f"{field}={value}" for field, value in drawn.items()])
    config.train.update(tensorboard=False, progress=search.progress, best=":".join(search.best))
    if _finished(config, folder):
        return ""
    try:
        training.train(config, folder, say=say)
    except NonFiniteError as error:
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / FAILED, json.dumps({"why": str(error)}) + "\n")
        say(str(error))
        return str(error)
    return ""


def _finished(config: ConfigDict, folder: Path) -> bool:
    """Whether the trial's last step is there, of the same config; ConfigError for another's run."""
    if not (folder / "config.json").exists():
        return False
    configs.check_same(config, folder)
    steps = [int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
    return max(steps, default=0) >= configs.resolved(folder)["steps"]


def outcome(search: Search, trial: int) -> dict[str, Any]:
    """`{"value", "step", "steps"}`: the best of the trial's validations and when it was; None where there is none."""
    metric, mode = search.best
    rows = [row for row in read_metrics(search.folder(trial)) if row["split"] == "validation"]
    found = [(row[metric], row["step"]) for row in rows if metric in row and math.isfinite(row[metric])]
    known = configs.resolved(search.folder(trial)) if (search.folder(trial) / "config.json").exists() else {}
    if not found:
        return {"value": None, "step": None, "steps": known.get("steps")}
    value, step = (max if mode == "max" else min)(found, key=lambda each: each[0])
    return {"value": float(value), "step": int(step), "steps": known.get("steps")}


def _same_search(search: Search) -> None:
    """Notes in the workdir what is searched; raises ConfigError where another search is noted there."""
    noted = search.workdir / "search.json"
    told = {
        "config": search.digest(), "seed": search.seed, "best": ":".join(search.best),
        "fields": {each.field: [each.kind, *each.ends] for each in search.ranges},
    }  # fmt: skip
    told = json.loads(json.dumps(told))
    if noted.exists():
        theirs = json.loads(noted.read_text())
        other = [name for name in told if theirs.get(name) != told[name]]
        if other:
            raise ConfigError(f"{search.workdir} holds trials of another search (its {', '.join(other)} differ): take another")
        return
    search.workdir.mkdir(parents=True, exist_ok=True)
    replace(noted, json.dumps(told, indent=1) + "\n")
