"""Which files of a folder are which contrast of which subject.

Known layouts, for contrasts such as T1, T2, PD or FLAIR: `NAME-T1.nii.gz` (IXI: `IXI002-Guys-0828-T1.nii.gz`; `_` for `-`
and `.nii` do as well, and so do folders `NAME-T1` of one DICOM series), all in one folder, or in folders `T1` and `T2`, or
`IXI-T1` and `IXI-T2`. NAME is what pairs are matched by; a table `subjects.csv` with a column `name` adds its columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medjax.data.records import some
from medjax.data.tables import read_table
from medjax.formats.volume import is_volume
from medjax.types import ConfigError, DataError

TABLE = "subjects.csv"
_MISSING = ("error", "skip")


def find_pairs(
    root: str | os.PathLike,
    contrasts: Sequence[str],
    *,
    subjects: str = "",
    exclude: str = "",
    missing: str = "error",
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """The subjects who have both contrasts.

    Args:
      root: the data folder.
      contrasts: two names, source and target.
      subjects: a regular expression; only names in which it is found are kept.
      exclude: a regular expression; names in which it is found are left out.
      missing: "error" if a subject has one contrast only, "skip" to leave such subjects out with a note.

    Returns:
      {name: (path of the source, path of the target)} sorted by name, and notes.

    Raises:
      DataError: an absent folder, no file of a contrast, two files for one subject, subjects with one contrast, no subject.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"the data folder {root} is absent")
    contrasts = tuple(contrasts)
    if len(contrasts) != 2 or contrasts[0] == contrasts[1] or not all(contrasts):
        raise ConfigError(f"direction names two different contrasts, source and target, not {contrasts}")
    if missing not in _MISSING:
        raise ConfigError(f"missing must be one of {', '.join(_MISSING)}, not {missing!r}")
    keep, drop = (_pattern(p, field) for p, field in ((subjects, "subjects"), (exclude, "exclude")))
    found = []
    for contrast in contrasts:
        files = _files(root, contrast)
        found.append({n: p for n, p in files.items() if keep.search(n) and not (exclude and drop.search(n))})
    source, target = found
    both = sorted(source.keys() & target.keys())
    notes = _one_sided(root, contrasts, source, target, len(both), missing)
    if not both:
        raise DataError(f"no subject of {root} has both {contrasts[0]} and {contrasts[1]} under the chosen names")
    return {name: (source[name], target[name]) for name in both}, notes


def _one_sided(root: Path, contrasts: Sequence[str], source: Mapping, target: Mapping, both: int, missing: str) -> list[str]:
    told = []
    for here, there, has, lacks in ((source, target, *contrasts), (target, source, *contrasts[::-1])):
        alone = sorted(here.keys() - there.keys())
        if alone:
            told.append(f"{len(alone)} of {len(here)} subjects have {has} but no {lacks}: {some(alone)}")
    if told and (missing == "error" or not both):
        raise DataError(f"{root}: {'; '.join(told)}" + (' (missing="skip" goes on without them)' if both else ""))
    return [f"{text}; they were left out" for text in told]


def _files(root: Path, contrast: str) -> dict[str, str]:
    """{name: path} of one contrast, in the folder itself and the two kinds of folders below it."""
    name = re.compile(rf"(?P<name>.+)[-_]{re.escape(contrast)}(?P<ending>\.nii|\.nii\.gz|)", re.IGNORECASE)
    found: dict[str, str] = {}
    for folder in (root, root / contrast, root / f"IXI-{contrast}"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = name.fullmatch(path.name)
            if not match or path.name.startswith(".") or path.is_file() != bool(match["ending"]) or not is_volume(path):
                continue
            if match["name"] in found:
                raise DataError(f"{found[match['name']]} and {path} are both the {contrast} of {match['name']}")
            found[match["name"]] = str(path)
    if not found:
        raise DataError(f"{root} has no file NAME-{contrast}.nii.gz, nor have the folders {contrast} and IXI-{contrast} in it")
    return found


def contrasts_of(root: str | os.PathLike) -> dict[str, int]:
    """{contrast: number of files} by the last part of the names, for a folder of one of the known layouts, else {}."""
    root, counts = Path(root), {}
    folders = [root, *(p for p in sorted(root.iterdir()) if p.is_dir())] if root.is_dir() else []
    for folder in folders:
        for path in folder.iterdir():
            match = re.fullmatch(r".+[-_]([A-Za-z]+\d?[A-Za-z]*)\.nii(\.gz)?", path.name)
            if match and (folder == root or folder.name in (match[1], f"IXI-{match[1]}")):
                counts[match[1]] = counts.get(match[1], 0) + 1
    return dict(sorted(counts.items()))


def columns_of(root: str | os.PathLike) -> dict[str, dict[str, str]]:
    """{name: {column: value}} of `subjects.csv`; {} where there is none."""
    table = Path(root) / TABLE
    if not table.exists():
        return {}
    rows = read_table(table, ("name",))
    return {row["name"]: {column: value for column, value in row.items() if column != "name"} for row in rows}


def _pattern(text: str, field: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"{field} {text!r} is no regular expression ({error})") from error
