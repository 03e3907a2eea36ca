"""What must not move and what must not be made, of every row of images: anatomy scores, and findings of phantoms counted.

Rows are `{row: images [n, H, W, 1] in [0, 1]}`, all made of the images of the row `low`, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.phantom.known import NONE, redraw
from medjax.data.records import Record
from medjax.metrics import anatomy, findings, lungs
from medjax.metrics.statistics import summary
from medjax.types import DataError

LOW, SHOWN = "low", 6
COUNTED = ("Mass", "Pneumonia")  # findings that have a place; COPD is of the whole lung
TOP = 65535.0


def moved(rows: Mapping[str, np.ndarray], *, fields: np.ndarray | None = None) -> dict[str, Any]:
    """`{"rows": {row: `anatomy.summarise`}, "worst": {row: places of the images whose anatomy moved most}}` against `LOW`.

    fields: the true lung fields bool `[n, H, W]`, where they are known.
    """
    found = {row: anatomy.moved(rows[LOW], images, fields=fields) for row, images in rows.items() if row != LOW}
    return {
        "rows": {row: anatomy.summarise(each) for row, each in found.items()},
        "worst": {row: anatomy.worst(each, SHOWN) for row, each in found.items()},
    }


def known_fields(records: Sequence[Record], size: int) -> np.ndarray:
    """The true lung fields of phantoms, bool `[n, size, size]`."""
    return np.stack([redraw(record, size=size).lungs for record in records])


def ruler(records: Sequence[Record], size: int) -> dict[str, Any]:
    """The Dice of the fields found in clean phantoms with their true ones: what the rule for finding them is worth."""
    phantoms = [redraw(record, size=size) for record in records]
    found = lungs.fields(np.stack([phantom.clean for phantom in phantoms]) / TOP)
    return summary(lungs.movement(np.stack([phantom.lungs for phantom in phantoms]), found)["dice"])


def countable(records: Sequence[Record]) -> list[int]:
    """The places of the records whose finding has a place of its own."""
    return [i for i, record in enumerate(records) if _finding(record) in COUNTED]


def twins(records: Sequence[Record], size: int) -> np.ndarray:
    """float32 `[n, size, size, 1]`: the same patients at the same dose without their finding, to be enhanced as others are."""
    images = [redraw(record, size=size, finding=NONE).image for record in records]
    return (np.stack(images).astype(np.float32) / np.float32(TOP))[..., None]


def count(
    records: Sequence[Record], rows: Mapping[str, np.ndarray], *, without: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """`{"rows": `findings.tally`, "shares": {row: {"present", "absent"}}, "faint", "n"}` of phantoms that have a finding.

    Args:
      records: of phantoms with a finding of `COUNTED`. rows: images of them.
      without: images of their `twins` in the same rows; None looks for what is invented at the mirrored place of each image.

    faint: findings too small or of too little contrast in truth to be looked for, which are left out.
    Raises DataError where no finding is left, or rows have another number of images.
    """
    shares: dict[str, dict[str, list[float]]] = {row: {"present": [], "absent": []} for row in rows}
    sizes = {len(images) for images in (*rows.values(), *(without or {}).values())}
    if sizes != {len(records)}:
        raise DataError(f"findings of {len(records)} phantoms cannot be counted in rows of {', '.join(map(str, sizes))} images")
    faint = 0
    for i, record in enumerate(records):
        size = next(iter(rows.values()))[i].shape[0]
        truth, bare = redraw(record, size=size), redraw(record, size=size, finding=NONE)
        place = findings.place(truth.mask, truth.lungs)
        known = findings.known(truth.clean / TOP, place, bare=bare.clean / TOP) if place else None
        if known is None:
            faint += 1
            continue
        other = None if without else findings.place(findings.mirrored(truth.mask, truth.lungs), truth.lungs)
        elsewhere = findings.control(truth.clean / TOP, other, known) if other else None
        for row, images in rows.items():
            shares[row]["present"].append(findings.share(images[i], known))
            if without:
                shares[row]["absent"].append(findings.share(without[row][i], known))
            elif elsewhere:
                shares[row]["absent"].append(findings.share(images[i], elsewhere))
    if faint == len(records):
        raise DataError(f"none of {len(records)} findings can be looked for: each is too small or too faint in truth")
    tally = findings.tally(*({row: each[side] for row, each in shares.items()} for side in ("present", "absent")))
    return {"rows": tally, "shares": shares, "faint": faint, "n": len(records) - faint, "twins": without is not None}


def _finding(record: Record) -> str:
    return record.extra.get("findings") or (record.labels[0] if record.labels else "")
