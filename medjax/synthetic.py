"""A folder of synthetic images that is itself a data set: PNG files, NIH's table, a contact sheet, and where they come from.

PNG files have 8 bits, as NIH ChestX-ray14 has them: [0, 1] is 0 to 255. `labels.csv` has NIH's column names, every image a
patient of its own. Every name, every patient and every PNG's own text says `synthetic`. The folder appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from medjax import formats, inference
from medjax.files import replace
from medjax.writers import sample_sheet

COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
TABLE, PROVENANCE, SHEET = "labels.csv", "provenance.json", "contact_sheet.png"
SHEET_IMAGES, SHEET_SIDE = 8, 256


def name_of(label: str, seed: int, number: int) -> str:
    """An image's name without suffix, which is its patient too: `synthetic_LABEL_SEED_NUMBER`.

    A label that is no file name gets a digest behind what is left of it, so that "A/B" and "A:B" stay two.
    """
    word = re.sub(r"[^A-Za-z0-9+-]+", "_", label).strip("_") or "unlabelled"
    plain = label in ("", word, word.replace("_", " "))
    return f"synthetic_{word}{'' if plain else f'_{zlib.crc32(label.encode()):08x}'}_{seed}_{number:05d}"


def row_of(label: str, name: str, columns: Mapping[str, str]) -> dict[str, str]:
    """A row of the table; `columns`: what is known beside the label, of `COLUMNS`."""
    return {**dict.fromkeys(COLUMNS, ""), "Image Index": f"{name}.png", "Finding Labels": label, "Patient ID": name, **columns}


def write_image(path: Path, image: np.ndarray, label: str, told: str) -> None:
    """`[H, W, 1]` in [0, 1] as a grey PNG of 8 bits that says what it is; told: where it comes from."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", f"synthetic image: {label or 'no label'}")
    text.add_text("Description", f"synthetic: made by a computer, of no patient{'; ' if told else ''}{told}")
    text.add_text("Software", "medjax")
    formats.write(path, image, formats.Encoding(options={"pnginfo": text}))


def write_rest(
    part: Path, rows: Sequence[Mapping[str, str]], shown: Mapping[str, Sequence[np.ndarray]], provenance: Mapping[str, Any]
) -> None:
    """The table, the contact sheet (a row for each label of `shown`, reduced to `SHEET_SIDE` pixels), and the provenance."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    replace(part / TABLE, text.getvalue())
    width = min(SHEET_IMAGES, *map(len, shown.values()))
    small = [[inference.resize(i, tuple(min(n, SHEET_SIDE) for n in i.shape[:2])) for i in row[:width]] for row in shown.values()]
    columns = {str(i + 1): np.stack([row[i] for row in small]) for i in range(width)}
    picture = sample_sheet(columns, labels=[f"synthetic: {label or 'no label'}" for label in shown])
    Image.fromarray(picture).save(encoded := io.BytesIO(), format="PNG")
    replace(part / SHEET, encoded.getvalue())
    replace(part / PROVENANCE, json.dumps(provenance, indent=2, allow_nan=False) + "\n")
