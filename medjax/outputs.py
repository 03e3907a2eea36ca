"""Which file is written for which input, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from medjax import formats
from medjax.types import ConfigError, DataError


class Outcome(NamedTuple):
    """What became of the files: images written, maps of deviation written, and (input, reason) of those that failed."""

    written: list[Path]
    maps: list[Path]
    failed: list[tuple[Path, str]]


def _images(given: Path) -> list[Path]:
    return formats.list_images(given, recursive=True) if given.is_dir() else [given]


def plan(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    listed: Callable[[Path], Sequence[Path]] = _images,
    renamed: Callable[[str], str] = lambda name: name,
) -> list[tuple[Path, Path]]:
    """(input, output) for each image in `inputs`, files or folders (searched to their depth, their structure kept).

    listed: what an input holds: itself, or what lies below it; images by default. renamed: an output's name from its
    input's. No two outputs have the same name: of two that would, the second gets `_2`. What already lies in an output
    folder inside an input folder is left out. Raises DataError where an input is absent or nothing is found, ConfigError
    where an output would replace an input.
    """
    output_dir, found = Path(output_dir), {}
    for given in map(Path, inputs):
        if not given.exists():
            raise DataError(f"{given}: no such file or folder")
        for path in listed(given):
            whole, here = path.resolve(), given.resolve()
            if whole != here and output_dir.resolve() != here and output_dir.resolve() in (whole, *whole.parents):
                continue
            relative = Path(whole.name) if whole == here else path.relative_to(given)
            found.setdefault(whole, (path, relative.with_name(renamed(relative.name))))
    if not found:
        raise DataError(f"{', '.join(map(str, inputs))}: nothing to enhance")
    taken: set[str] = set()
    planned = [(path, free(output_dir / relative, taken)) for path, relative in found.values()]
    for _, output in planned:
        if output.resolve() in found:
            raise ConfigError(f"{output}: the output would replace an input; give another output folder")
    return planned


def free(path: Path, taken: set[str]) -> Path:
    """`path`, or where that is taken `NAME_2`, `NAME_3`, ...; compared without case, as some file systems do."""
    candidate, number = path, 1
    ending = formats.volume_suffix(path) or path.suffix
    while str(candidate).casefold() in taken:
        number += 1
        candidate = path.with_name(f"{path.name[: len(path.name) - len(ending)]}_{number}{ending}")
    taken.add(str(candidate).casefold())
    return candidate
