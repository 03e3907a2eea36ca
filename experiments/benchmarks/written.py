"""Where a benchmark's result goes: one JSON file, which `experiments.benchmarks.report` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.files import replace


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    """`result` as JSON in `path`, whose folder is made; nothing where there is no path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(result, indent=1) + "\n")
