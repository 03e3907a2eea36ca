"""A pair of volumes measured once: does it fit, where is the head, which values mean 0 and 1; kept in a cache folder.

What is kept is a JSON file per pair with numbers only (a transform, scores, percentiles, areas), never image data; it is
found again by both files' places, sizes, times and ends, and by the options, so a changed file is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medjax.data.alignment import SHIFT_MM, Alignment, alignment, resample
from medjax.data.intensities import Head, read_head
from medjax.data.registration import rigid
from medjax.files import replace
from medjax.types import ConfigError, DataError

REGISTRATION = ("refuse", "rigid")
_SAME = 1.9  # normalised mutual information of an image with itself is 2
_VERSION = 1  # of what is measured; part of the key
_ENDS = 1 << 16  # bytes at either end of a file that go into the key
OFF = "off"


@dataclass(frozen=True)
class Survey:
    """Numbers of a pair, in the RAS order of the source's grid.

    shape, affine: the grid; centre, extent: RAS mm and mm of the source's head; windows: (low, high) of source and
    target; masks: how each head was found; areas: mm^2 of the head in every slice across each of the three axes;
    before, after: alignment as the files lie, and as used; transform: RAS mm of source to target, None if not registered.
    """

    shape: tuple[int, int, int]
    affine: list[list[float]]
    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    windows: tuple[tuple[float, float], tuple[float, float]]
    masks: tuple[str, str]
    areas: tuple[list[float], list[float], list[float]]
    before: Alignment
    after: Alignment
    transform: list[list[float]] | None


@dataclass(frozen=True, eq=False)
class Pair:
    """source: the source's Head; target: float32 [X, Y, Z] in [0, 1] on its grid; region: bool [X, Y, Z], the source's
    head as far as the target's field of view reaches.
    """

    source: Head
    target: np.ndarray
    region: np.ndarray


def survey(
    paths: tuple[str, str],
    *,
    registration: str = "refuse",
    percentiles: tuple[float, float] = (0.0, 99.5),
    mask: str = "auto",
    cache: str | None = None,
    name: str = "pair",
) -> Survey:
    """Measures the pair `paths` (source, target), or finds it in the cache.

    Args:
      paths: the two files.
      registration: "refuse" a pair that is not aligned; "rigid" registers one that is not, or that a tested shift improves.
      percentiles, mask: see `intensities.read_head`.
      cache: a folder; None is `medjax/mri` in the user's cache folder, "off" keeps nothing.
      name: the subject, part of the cached file's name as it is of the images'.

    Raises:
      DataError: a file that cannot be used, or a pair that does not fit. ConfigError: options, or no SimpleITK.
    """
    if registration not in REGISTRATION:
        raise ConfigError(f"registration must be one of {', '.join(REGISTRATION)}, not {registration!r}")
    options = {"registration": registration, "percentiles": list(percentiles), "mask": mask}
    place = None if cache == OFF else _folder(cache) / f"{name}_{_key(paths, options)}.json"
    known = _remembered(place) if place else None
    if known is None:
        known = _measure(paths, registration, percentiles, mask)
        if place:
            _remember(place, known, asked=cache is not None)
    if known.after.nmi > _SAME:
        raise DataError(f"{paths[0]} and {paths[1]} show the same image, where two contrasts are expected")
    if not known.after.aligned:
        raise DataError(_refusal(paths, known, registration))
    return known


def read_pair(
    paths: tuple[str, str], known: Survey, *, percentiles: tuple[float, float] = (0.0, 99.5), mask: str = "auto"
) -> Pair:
    """The two volumes of a pair that was surveyed, on one grid."""
    source, target = (read_head(path, percentiles=percentiles, mask=mask) for path in paths)
    transform = None if known.transform is None else np.array(known.transform)
    values, _ = _laid(source, target, transform)
    return Pair(source, values, _region(source, target, transform))


def _measure(paths: tuple[str, str], registration: str, percentiles: tuple[float, float], mask: str) -> Survey:
    source, target = (read_head(path, percentiles=percentiles, mask=mask) for path in paths)
    before = after = _score(source, target, None)
    transform = None
    if registration == "rigid" and (not before.aligned or before.best != "0"):
        grids = [(h.unit(), h.volume.affine) for h in (source, target)]
        found = rigid(*grids[0], *grids[1], name=f"{paths[1]} on {paths[0]}")
        tried = _score(source, target, found)
        if tried.aligned and (not before.aligned or tried.nmi > before.nmi):
            after, transform = tried, found
    region = _region(source, target, transform)
    spacing = source.volume.spacing
    across = ((1, 2), (0, 2), (0, 1))
    areas = tuple((region.sum(axis=(a, b)) * spacing[a] * spacing[b]).tolist() for a, b in across)
    return Survey(
        shape=source.volume.values.shape, affine=source.volume.affine.tolist(), centre=source.centre, extent=source.extent,
        windows=((source.low, source.high), (target.low, target.high)), masks=(source.method, target.method), areas=areas,
        before=before, after=after, transform=None if transform is None else transform.tolist(),
    )  # fmt: skip


def _laid(source: Head, target: Head, transform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The target's values in [0, 1] and its mask on the source's grid."""
    onto = (source.volume.values.shape, source.volume.affine)
    return tuple(
        resample(x, target.volume.affine, *onto, transform=transform) for x in (target.unit(), target.mask)
    )


def _region(source: Head, target: Head, transform: np.ndarray | None) -> np.ndarray:
    whole = np.ones(target.volume.values.shape, bool)
    seen = resample(whole, target.volume.affine, source.volume.values.shape, source.volume.affine, transform=transform)
    return source.mask & seen


def _score(source: Head, target: Head, transform: np.ndarray | None) -> Alignment:
    values, mask = _laid(source, target, transform)
    return alignment(source.unit(), values, source.mask, mask, source.volume.spacing)


def _refusal(paths: tuple[str, str], known: Survey, registration: str) -> str:
    scores = f"{known.after.nmi:.4f} as it lies and {known.after.shifted:.4f} when shifted by {SHIFT_MM:g} mm"
    told = f"{paths[1]} does not lie on {paths[0]}: their normalised mutual information is {scores}"
    if registration == "refuse":
        return f'{told}; registration="rigid" would bring them together first'
    return f"{told}, and rigid registration did not bring them together"


def _folder(cache: str | None) -> Path:
    if cache:
        return Path(cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "medjax" / "mri"


def _key(paths: tuple[str, str], options: dict) -> str:
    digest = hashlib.blake2b(json.dumps([_VERSION, options], sort_keys=True).encode(), digest_size=10)
    files = [f for path in paths for f in (sorted(Path(path).iterdir()) if os.path.isdir(path) else [path])]
    for path in files:
        try:
            with open(path, "rb") as file:
                size, when = (os.fstat(file.fileno()).st_size, os.fstat(file.fileno()).st_mtime_ns)
                digest.update(f"{os.path.realpath(path)} {size} {when}".encode() + file.read(_ENDS))
                file.seek(max(0, size - _ENDS))
                digest.update(file.read(_ENDS))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _remembered(place: Path) -> Survey | None:
    try:
        kept = json.loads(place.read_text())
        return Survey(**kept | {name: Alignment(**kept[name]) for name in ("before", "after")})
    except (OSError, ValueError, KeyError, TypeError):  # absent, or no such file: it is measured again
        return None


def _remember(place: Path, known: Survey, *, asked: bool) -> None:
    """The default folder may be out of reach, which is no error."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace(place, json.dumps(asdict(known)))
    except OSError as error:
        if asked:
            raise DataError(f"the cache folder {place.parent} cannot be written ({error.strerror or error})") from error
