"""Anatomy and findings of the rows of a study's images: what moved, what was kept, lost and invented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.unpaired import anatomy_stage, enhanced
from experiments.unpaired.scales import PHANTOM
from medjax.types import DataError


def anatomy(arm: str, test: enhanced.Tested, rows: Mapping[str, np.ndarray], degraded: np.ndarray) -> dict[str, Any]:
    """`anatomy_stage.moved` of all rows against their input, of the truth where it is known, and `degraded`: what the CycleGAN
    made of high-quality images against these; `ruler`: what the rule for finding lungs is worth, where theirs are known.
    """
    size, known = test.size, arm == PHANTOM
    own = dict(rows) | ({} if test.truth is None else {enhanced.TRUTH: test.truth})
    found = anatomy_stage.moved(own, fields=anatomy_stage.known_fields(test.records, size) if known else None)
    fields = anatomy_stage.known_fields(test.high_records, size) if known else None
    back = anatomy_stage.moved({anatomy_stage.LOW: test.high, "degraded": degraded}, fields=fields)
    found["rows"] |= back["rows"]
    found["worst"] |= back["worst"]
    return found | {"ruler": anatomy_stage.ruler(test.records, size) if known else None}


def findings(test: enhanced.Tested, rows: Mapping[str, np.ndarray], twins: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`anatomy_stage.count` of the phantoms whose finding has a place, with the same patients at a normal dose beside; where none
    can be looked for `{"rows": None, "why"}`.
    """
    if not test.places:
        return {"rows": None, "why": "no test image has a finding with a place of its own"}
    places = list(test.places)
    own, bare = enhanced.normal(test)
    present = {row: images[places] for row, images in rows.items()} | {enhanced.NORMAL: own}
    without = dict(twins) | {enhanced.NORMAL: bare}
    try:
        return anatomy_stage.count([test.records[i] for i in places], present, without=without)
    except DataError as error:
        return {"rows": None, "why": str(error)}
