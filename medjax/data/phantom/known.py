"""What is known of a phantom radiograph that a data set holds: its clean image, its lungs, its finding; its twin without one."""

from __future__ import annotations

import re

from medjax.data.phantom import Phantom, radiograph
from medjax.data.records import Record
from medjax.types import DataError

NAME = re.compile(r"phantom_(\d+)_(\d+)")
NONE = "No Finding"


def redraw(record: Record, *, size: int, dose: float | None = None, finding: str | None = None) -> Phantom:
    """The phantom behind a record of `phantom_cxr`, at `size` pixels: the same patient, whatever the size of the set's images.

    dose: the record's own where None. finding: the record's own where None; `NONE` draws the twin that has none. Its `clean`,
    `mask` and `lungs` depend on no noise, and so on no dose. Raises DataError for a record that is no phantom's.
    """
    found = NAME.search(record.name)
    if found is None:
        raise DataError(f"{record.name} is no phantom radiograph: nothing is known of it beyond its image")
    own = record.extra.get("findings") or (record.labels[0] if record.labels else None)
    seed, index = map(int, found.groups())
    dose = float(record.extra.get("dose", 1.0)) if dose is None else dose
    return radiograph(seed, index, size=size, dose=dose, finding=finding or own)
