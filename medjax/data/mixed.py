"""Several sources in one, for a model of several modalities, and the column that tells them apart.

`extra["modality"]` of a record is what made the image: CXR, CT or MR, "" where nobody knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from medjax.data.records import Images, Source, some
from medjax.types import ConfigError, DataError

MODALITY = "modality"


def tagged(source: Source, modality: str) -> Source:
    """`source` with the modality of every record that does not know its own; itself where `modality` is ""."""
    if not modality:
        return source
    records = tuple(r if r.extra.get(MODALITY) else replace(r, extra={**r.extra, MODALITY: modality}) for r in source.records)
    return replace(source, records=records)


def combined(parts: Sequence[tuple[str, Source]]) -> Source:
    """One source of the records of all `parts` [(name, source)], in their order.

    Records are called `PART/NAME`; a patient of one name in two parts is one patient. `load(i)` gives what the part's own
    gives, so images keep their sizes. `label_names` are those of all parts, in order of appearance.

    Raises:
      ConfigError: fewer than two parts, two of one name, or pairs beside single images. DataError: one name twice.
    """
    names = [name for name, _ in parts]
    if len(parts) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"a mixed source takes two or more different sources, not {', '.join(names) or 'none'}")
    if len({source.paired for _, source in parts}) > 1:
        kinds = "; ".join(f"{name}: {'pairs' if source.paired else 'single images'}" for name, source in parts)
        raise ConfigError(f"pairs and single images cannot be mixed ({kinds})")
    places = [(source, i) for _, source in parts for i in range(len(source))]
    records = tuple(replace(r, name=f"{name}/{r.name}") for name, source in parts for r in source.records)
    twice = [name for name, count in Counter(r.name for r in records).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} images of a mixed source have the same name: {some(twice)}")

    def load(index: int) -> Images:
        source, i = places[index]
        return source.load(i)

    labels = tuple(dict.fromkeys(label for _, source in parts for label in source.label_names))
    notes = tuple(f"{name}: {note}" for name, source in parts for note in source.notes)
    counts = ", ".join(f"{name} {len(source)}" for name, source in parts)
    return Source("mixed", records, load, labels, parts[0][1].paired, (f"images of each source: {counts}", *notes))
