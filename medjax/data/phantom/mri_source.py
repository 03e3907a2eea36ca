"""Slices of brain phantoms as pairs: one contrast is the source, another the target, with the brain and its lesions known.

`load(i)` gives what `medjax.data.mri.mri_pairs` gives of files: `source` float32 [S, S, 2 context + 1] and `target`
[S, S, 1] in [0, 1], each volume mapped by its own percentiles inside the brain (a lower one of 0 is no signal), and
`region` [S, S, 1], 1 inside the brain with its sulci and ventricles. S is `size`; positions are mm from the brain's middle.

A head is scanned when one of its slices is asked for, and the last heads, up to CACHE_BYTES, stay in memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from medjax.data.intensities import percentile_window, to_unit_range
from medjax.data.phantom.head import sample_head
from medjax.data.phantom.lesions import Lesion, sample_lesions
from medjax.data.phantom.mri import SEQUENCES, brain_pair
from medjax.data.recent import Recent
from medjax.data.records import Images, Record, Source
from medjax.data.slices import PLANES, Plan, choose_slices, cut, grid_plan, in_plane, plane_axis, stack
from medjax.types import ConfigError

KIND = "phantom_mri"
CACHE_BYTES = 1 << 30
DEPTH_MM = 184.0  # what is scanned across the slices: any head
RANGE_MM = {"axial": (-50.0, 60.0), "coronal": (-72.0, 72.0), "sagittal": (-56.0, 56.0)}  # where every brain is


@dataclass(frozen=True)
class Scan:
    """All that a scanned and cut head depends on; kept as JSON in a record's `extra["phantom"]`."""

    seed: int
    index: int
    size: int
    fov_mm: float
    plane: str
    direction: tuple[str, str]
    first: int
    last: int
    percentiles: tuple[float, float]
    field: float
    sequences: tuple[tuple[str, float, float], ...]
    lesions: int  # -1: drawn
    veiled: float
    bias: float
    snr: float  # 0: no noise
    stripped: bool


def phantom_mri(
    count: int = 24,
    *,
    size: int = 128,
    seed: int = 0,
    direction: Sequence[str] = ("T1", "T2"),
    plane: str = "axial",
    range_mm: Sequence[float] = (),
    step_mm: float = 0.0,
    context: int = 0,
    fov_mm: float = 208.0,
    percentiles: Sequence[float] = (0.0, 99.5),
    field: float = 1.5,
    sequences: dict[str, Sequence[float]] | None = None,
    lesions: bool | int = True,
    veiled: float = 0.25,
    bias: float = 0.2,
    snr: float | None = 40.0,
    stripped: bool = False,
) -> Source:
    """Slices of `count` simulated heads, each a pure function of (seed, its number); one patient per head.

    Args:
      count: number of heads.
      size: pixels along a slice's side.
      seed: which set of heads.
      direction: source and target contrast, names of `mri.SEQUENCES` or of `sequences`.
      plane: "axial", "coronal" or "sagittal".
      range_mm: (lowest, highest) position from the middle of the brain; () takes RANGE_MM of the plane.
      step_mm: distance between slices; 0 takes every one, as far apart as pixels are wide.
      context: neighbours on either side that become channels of `source`.
      fov_mm: side of a slice.
      percentiles: of each volume's values inside the brain that become 0 and 1.
      field, sequences, lesions, veiled, bias, snr, stripped: see `mri.brain_pair`.

    Raises:
      ConfigError: an option out of range.
    """
    ends = tuple(range_mm) or RANGE_MM.get(plane, ())
    known = SEQUENCES | {name: tuple(times) for name, times in (sequences or {}).items()}
    _check(count, size, direction, known, context, fov_mm)
    shared = {
        "seed": seed, "size": size, "fov_mm": float(fov_mm), "plane": plane, "direction": tuple(direction),
        "percentiles": tuple(percentiles), "field": field, "sequences": tuple((n, *known[n]) for n in direction),
        "lesions": -1 if lesions is True else int(lesions), "veiled": veiled, "bias": bias, "snr": snr or 0.0,
        "stripped": stripped,
    }  # fmt: skip
    rows = []
    for index in range(count):
        plan = _plan(seed, index, size, fov_mm, plane)
        chosen = choose_slices(plan, range_mm=ends, step_mm=step_mm)
        if not chosen:
            raise ConfigError(f"no slice of a phantom lies within {ends[0]:g} to {ends[1]:g} mm")
        limits = max(0, chosen[0] - context), min(len(plan.positions), chosen[-1] + context + 1)
        scan = Scan(index=index, first=limits[0], last=limits[1], **shared)
        rows += [(scan, plan, k, _record(scan, plan, k, context)) for k in chosen]

    def load(i: int) -> Images:
        scan, plan, k, _ = rows[i]
        arrays = _SCANS(scan)
        region = cut(arrays["region"], plan, k - scan.first)[..., None]
        return {
            "source": stack(arrays["source"], plan, k - scan.first, context=context),
            "target": cut(arrays["target"], plan, k - scan.first)[..., None],
            "region": (region >= 0.5).astype(np.float32),
        }

    return Source(KIND, tuple(row[-1] for row in rows), load, paired=True)


def lesion_numbers(record: Record) -> np.ndarray:
    """int16 [S, S] on the canvas of the record's slice: 0, or the number of a lesion in `lesions_of(record)`."""
    scan = _scan_of(record)
    plan = _plan(scan.seed, scan.index, scan.size, scan.fov_mm, scan.plane)
    return cut(_SCANS(scan)["lesions"], plan, int(record.extra["slice"]) - scan.first).round().astype(np.int16)


def lesions_of(record: Record) -> tuple[Lesion, ...]:
    """The lesions of the record's head, in and beyond its slices."""
    scan = _scan_of(record)
    count = None if scan.lesions < 0 else scan.lesions
    return sample_lesions(sample_head(scan.seed, scan.index), count=count, veiled=scan.veiled)


def _scan_of(record: Record) -> Scan:
    if "phantom" not in record.extra:
        raise ConfigError(f"{record.name} is no phantom, so its lesions are not known")
    stored = json.loads(record.extra["phantom"])
    stored["sequences"] = tuple(map(tuple, stored["sequences"]))
    return Scan(**{name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()})


def _check(count: int, size: int, direction: Sequence[str], known: dict, context: int, fov_mm: float) -> None:
    if count < 1 or context < 0:
        raise ConfigError(f"{KIND} needs at least one head and a context not below 0, not {count} and {context}")
    if not 24 <= size <= 512 or not 120 <= fov_mm <= 400:
        raise ConfigError(f"{KIND} draws slices of 24 to 512 pixels and 120 to 400 mm, not {size} and {fov_mm}")
    if len(direction) != 2 or any(name not in known for name in direction):
        raise ConfigError(f"direction names two of {', '.join(known)}, not {tuple(direction)}")


def _grid(size: int, fov_mm: float, plane: str) -> tuple[tuple[int, int, int], float]:
    """Shape and spacing of the scan: the canvas in plane, DEPTH_MM across."""
    axis, spacing = plane_axis(plane), fov_mm / size
    shape = [size if a in in_plane(axis) else max(8, round(DEPTH_MM / spacing)) for a in range(3)]
    return tuple(shape), spacing


def _plan(seed: int, index: int, size: int, fov_mm: float, plane: str) -> Plan:
    """How the head's slices are cut. The canvas is the scan's own grid: no value is moved, none is missing at a border."""
    shape, spacing = _grid(size, fov_mm, plane)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    centre = np.zeros(3)
    centre[PLANES[plane]] = sample_head(seed, index).shift[PLANES[plane]]  # positions count from the brain's middle
    return grid_plan(shape, affine, plane=plane, fov_mm=fov_mm, centre=centre, name="a phantom")


def _scanned(scan: Scan) -> dict[str, np.ndarray]:
    """The slab of both volumes in [0, 1] (float32), of the brain (bool) and of the lesions' numbers (int16)."""
    shape, spacing = _grid(scan.size, scan.fov_mm, scan.plane)
    phantom = brain_pair(
        scan.seed,
        scan.index,
        shape=shape,
        spacing=spacing,
        field=scan.field,
        sequences={name: (tr, te) for name, tr, te in scan.sequences},
        contrasts=scan.direction,
        lesions=True if scan.lesions < 0 else scan.lesions,
        veiled=scan.veiled,
        bias=scan.bias,
        snr=scan.snr or None,
        stripped=scan.stripped,
    )
    piece = (slice(None),) * PLANES[scan.plane] + (slice(scan.first, scan.last),)
    arrays = {"region": phantom.brain[piece].copy(), "lesions": phantom.lesions[piece].copy()}
    for role, name in zip(("source", "target"), scan.direction, strict=True):
        image = phantom.images[name]
        ends = percentile_window(image, phantom.brain, scan.percentiles, name=f"phantom {scan.index}")
        arrays[role] = to_unit_range(image[piece], *ends)
    return arrays


_SCANS = Recent(_scanned, max_bytes=CACHE_BYTES)


def _record(scan: Scan, plan: Plan, k: int, context: int) -> Record:
    head, patient = sample_head(scan.seed, scan.index), f"phantom_{scan.seed}_{scan.index:06d}"
    position = plan.positions[k] + 0.0
    extra = {
        "contrasts": ">".join(scan.direction), "plane": scan.plane, "slice": str(k), "position_mm": f"{position:.3f}",
        "spacing_mm": f"{plan.spacing:.6g}", "context": str(context), "fov_mm": f"{scan.fov_mm:g}",
        "phantom": json.dumps(asdict(scan)),
    }  # fmt: skip
    return Record(f"{patient}_{scan.plane}_{position:+.1f}mm", patient, sex=head.sex, age=head.age, extra=extra)
