"""`experiments/results/PERFORMANCE.md` from what the benchmarks wrote: every number comes from a JSON file, none is typed.

    python -m experiments.benchmarks.report [--results=experiments/results] [--output=experiments/results/PERFORMANCE.md]

Every JSON file below `--results` with a field `benchmark` is shown by that name's renderer (`RENDERERS`), or plainly, a column
for each field of its rows, where there is none. A file is `{"benchmark": NAME, "rows": [...], ...}`; of `title`, `notes`,
`versions`, `device_kind`, `platform` and `load` those that are there are printed too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import report_tables as tables
from medjax.files import replace
from medjax.types import DataError, MedjaxError

File = Mapping[str, Any]
Renderer = Callable[[File], list[str]]
RENDERERS: dict[str, Renderer] = {
    "train_step": tables.ratios,
    "inference": tables.ratios,
    "precision": tables.precision,
    "data": tables.data,
    "scaling": tables.scaling,
    "startup": tables.startup,
    "roofline": tables.roofline,
    "gpu_check": tables.checks,
    "forms": tables.plain,
    "profile": tables.plain,
    "settings": tables.plain,
    "sampling": tables.plain,
    "memory": tables.memory,
}
TITLES = {
    "train_step": "Training steps",
    "inference": "Inference",
    "precision": "float32 and bfloat16",
    "data": "Reading and preparing batches",
    "scaling": "Several devices",
    "startup": "From the command to the first step",
    "roofline": "The published models on an accelerator",
    "gpu_check": "A GPU",
    "forms": "Forms of convolution",
    "profile": "Where the time of a step goes",
    "settings": "The two settings for CPUs",
    "sampling": "Drawing images by diffusion",
    "memory": "Memory of training steps",
}
HEAD = (
    "# Performance",
    "",
    "Written by `python -m experiments.benchmarks.report` from the files named below; do not edit.",
    "Times are medians over slices in which the implementations take turns, with the range in brackets. A ratio is medjax's time "
    "over the other's: below 1 medjax is faster.",
)


def results(folder: Path) -> dict[Path, File]:
    """The benchmarks' files below `folder`, in the order of `TITLES`, others after them. Raises DataError for a broken one."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path} is no JSON: {error}") from error
        if isinstance(content, Mapping) and "benchmark" in content:
            if not isinstance(content.get("rows"), list) or not content["rows"]:
                raise DataError(f"{path} is of the benchmark {content['benchmark']} and has no rows")
            found[path] = content
    order = list(TITLES)
    place = lambda path: order.index(found[path]["benchmark"]) if found[path]["benchmark"] in order else len(order)
    return {path: found[path] for path in sorted(found, key=lambda path: (place(path), path))}


def page(found: Mapping[Path, File], folder: Path) -> str:
    """The whole page, as Markdown."""
    lines, before = list(HEAD), None
    for path, content in found.items():
        name = content["benchmark"]
        if name != before:
            lines += ["", f"## {TITLES.get(name, name)}"]
            before = name
        lines += ["", f"`{path.relative_to(folder).as_posix()}`: {tables.circumstances(content)}", ""]
        lines += RENDERERS.get(name, tables.plain)(content)
        figure = path.with_suffix(".png")
        if figure.exists():
            lines += ["", f"![{TITLES.get(name, name)}]({figure.relative_to(folder).as_posix()})"]
        if notes := [content["notes"]] if isinstance(content.get("notes"), str) else content.get("notes"):
            lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("experiments/results"))
    parser.add_argument("--output", type=Path, help="default: PERFORMANCE.md in the folder of the results")
    args = parser.parse_args(argv)
    try:
        found = results(args.results)
        if not found:
            raise DataError(f"no benchmark has written a result below {args.results}")
        output = args.output or args.results / "PERFORMANCE.md"
        replace(output, page(found, args.results))
    except MedjaxError as error:
        print(f"report: {error}", file=sys.stderr)
        return error.exit_status
    print(f"written: {output}, from {len(found)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
