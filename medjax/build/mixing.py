"""Several kinds of data in one run: `config.data.mixed.kinds`, each opened by its own options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from medjax import formats
from medjax.data import splits
from medjax.data.mixed import MODALITY, combined
from medjax.data.records import Source
from medjax.formats import dicom, pixels
from medjax.formats.guard import reading
from medjax.types import ConfigError, DataError

MODALITIES = {
    "nih_cxr14": "CXR", "actualmed": "CXR", "phantom_cxr": "CXR", "mri_slices": "MR", "mri_pairs": "MR", "phantom_mri": "MR",
}  # fmt: skip
"""Kind of source -> what made all of its images; volumes tell by their values, folders by an option."""


def mixed(
    config: ConfigDict, folders: Mapping[str, str], open_one: Callable[[ConfigDict], tuple[Source, str]]
) -> tuple[Source, str]:
    """The sources of `config.data.mixed.kinds` in one, and the folder above them.

    A kind `KIND:FOLDER` is read from that folder below the root, KIND from its own in `folders` (of the kinds on disk). The
    root is `config.data.root`, else $MEDJAX_DATA. open_one: opens the source of a config.

    Raises ConfigError for fewer than two kinds or a kind that is mixed itself, DataError for an absent folder.
    """
    kinds = tuple(config.data.mixed.kinds)
    if len(kinds) < 2 or any(kind.partition(":")[0] == "mixed" for kind in kinds):
        raise ConfigError(f"config.data.mixed.kinds names two or more other kinds of data, not {', '.join(kinds) or 'none'}")
    root = above(config, kinds, folders)
    return combined([(entry, opened(config, entry, folders, open_one, above=root)[0]) for entry in kinds]), root


def above(config: ConfigDict, entries: Iterable[str], folders: Mapping[str, str]) -> str:
    """`root_of` where one of the `entries` `KIND:FOLDER` is on disk, else ""."""
    return str(root_of(config)) if any(entry.partition(":")[0] in folders for entry in entries) else ""


def opened(
    config: ConfigDict,
    entry: str,
    folders: Mapping[str, str],
    open_one: Callable[[ConfigDict], tuple[Source, str]],
    *,
    above: str,
    root: str = "",
) -> tuple[Source, str]:
    """The source of `entry`, `KIND` or `KIND:FOLDER`, whole, and its root: of a kind on disk `root`, or else the folder below
    `above`.
    """
    kind, _, folder = entry.partition(":")
    part = config.copy_and_resolve_references()
    part.data.update(source=kind, limit=0)
    if kind in folders:
        part.data.root = root or str(Path(above) / (folder or folders[kind]))
    return open_one(part)


def root_of(config: ConfigDict) -> Path:
    """The folder above those of the kinds: `config.data.root`, else $MEDJAX_DATA."""
    given = config.data.root or os.environ.get("MEDJAX_DATA")
    if not given:
        name = config.data.source
        raise DataError(f"{name} needs a folder: set --config.data.root=DIR, or MEDJAX_DATA, to the folder above its kinds")
    path = Path(given).expanduser()
    if not path.is_dir():
        raise DataError(f"the data folder {path} is absent")
    return path.resolve()


def value_range(config: ConfigDict) -> Callable[[Path], object]:
    """What a file's values at 0 and 1 are, by its modality: of a CT image the window of the run's volumes, or what its folder
    was told; of others the ends of their type.

    The function raises DataError for an MR image in DICOM, whose values have no unit: percentiles are of a whole volume.
    """
    c, kinds = config.data, [kind.partition(":")[0] for kind in config.data.mixed.kinds]
    window = tuple(c.volumes.window if "volumes" in kinds else c.folder.value_range)

    def of(path: Path) -> object:
        if formats.name_stem(path) != path.name and formats.suffix(path) not in dicom.SUFFIXES:
            return None
        with reading(path):
            modality = str(pixels.load(path, pixels=False, tags=["Modality"]).get("Modality", ""))
        if modality == "MR":
            raise DataError(f"{path} is an MR image: its values have no unit, and a run of several modalities takes no volumes")
        return window or None if modality == "CT" else None

    return of


def split(config: ConfigDict, source: Source) -> dict[str, np.ndarray]:
    """By patient, every modality dealt by the same shares; numbers of patients where there is one modality alone."""
    shares, strata = tuple(config.data.split), source.column(MODALITY)
    if sum(shares) <= 1.5:
        return splits.by_stratum(source.records, strata, seed=config.data.split_seed, fractions=shares)
    if len(set(strata)) > 1:
        told = ", ".join(sorted(set(strata)))
        raise ConfigError(f"config.data.split is of shares where several modalities are dealt ({told}), not of numbers {shares}")
    return splits.by_patient(source.records, seed=config.data.split_seed, counts=shares)
