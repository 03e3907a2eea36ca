"""What tests of runs share: a folder made once, the arrays of a tree by path, the rows of a run, a run that ends in a crash."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder as `make` fills it, once for all processes of the suite. Copy it before changing anything in it."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    root.mkdir(exist_ok=True)
    folder, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of a process that dies it is free again
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def leaves(tree: object) -> dict[str, np.ndarray]:
    """Every array of a tree by its path."""
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def values(workdir: Path) -> list[str]:
    """The lines of metrics.jsonl without "time", as text: to the last digit."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in row.items() if k != "time"}) for row in rows]


def crashed(config: ConfigDict, workdir: Path, *, step: int) -> None:
    """Train until the row of that step is written, and no further."""
    from medjax.build import training

    log = training.Log.__call__

    def crash(self: object, at: int, state: object, metrics: object) -> None:
        log(self, at, state, metrics)
        if at == step:
            raise RuntimeError("the machine is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Log, "__call__", crash)
        with pytest.raises(RuntimeError, match="the machine is gone"):
            training.train(config, workdir, say=lambda text: None)
