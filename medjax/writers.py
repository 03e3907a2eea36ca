"""What a run leaves for its reader while it trains: `metrics.jsonl`, TensorBoard events, sample sheets.

`metrics.jsonl` holds one JSON object per line, `{"step", "split", name: value, ..., "time": {...}}`, flushed line by
line. Values are written so that a float32 comes back to the bit; what is not finite is written as null and read back as
NaN. A resumed run first drops the rows after the step it resumes from and a half-written last line, so that its file
ends equal to an unbroken run's in everything but "time". Write a step's rows before its checkpoint.

Pictures are `[N, H, W, C]` in [0, 1], C = 1 or 3; sheets are `samples/NAME_000123.png`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medjax.files import replace
from medjax.types import Array, ConfigError, DataError

METRICS = "metrics.jsonl"
RESERVED = ("step", "split", "time")


def _number(value: Any) -> float | int | None:
    """A Python number for a scalar of any library; None where it is not finite, for JSON has no word for that."""
    value = np.asarray(value).item()
    if isinstance(value, (bool, int)):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(line, object) for each line; a torn last line is left out, any other that is no row is a DataError."""
    rows = []
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode()
            row = json.loads(text)
            row["step"], row["split"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise DataError(f"{path}: line {number} is not a row of metrics") from None
        rows.append((text, row))
    return rows


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl` (or of the workdir that holds it), in order, null as NaN; [] where it is not."""
    path = Path(path)
    path = path / METRICS if path.is_dir() else path
    if not path.exists():
        return []
    return [{k: math.nan if v is None else v for k, v in row.items()} for _, row in _rows(path)]


def truncate(path: str | Path, step: int | None) -> int:
    """Drop the rows after `step` (None: none) and a half-written last line from a `metrics.jsonl`; returns bytes lost.

    The file is replaced in one move, so a second kill at this moment loses nothing.
    """
    path = Path(path)
    if not path.exists():
        return 0
    kept = "".join(f"{line}\n" for line, row in _rows(path) if step is None or row["step"] <= step).encode()
    dropped = path.stat().st_size - len(kept)
    if dropped:
        replace(path, kept)
    return dropped


class Writer:
    """Scalars and images of one run, to files in `workdir`; use it as a context manager or `close` it.

    resume_step: the step restored from a checkpoint (0: a fresh start); later rows are dropped. None keeps every row.
    tensorboard: also write events to `workdir/tensorboard` (what a resumed run repeats is purged there too).
    """

    def __init__(self, workdir: str | Path, *, resume_step: int | None = None, tensorboard: bool = True) -> None:
        self.workdir = Path(workdir)
        self.workdir.mkdir(parents=True, exist_ok=True)
        truncate(self.workdir / METRICS, resume_step)
        self._file = open(self.workdir / METRICS, "a", encoding="utf-8")  # noqa: SIM115
        self._events = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            purge = None if resume_step is None else resume_step + 1
            self._events = SummaryWriter(str(self.workdir / "tensorboard"), purge_step=purge)

    def scalars(self, step: int, split: str, values: Mapping[str, Any], time: Mapping[str, Any] | None = None) -> None:
        """Append one row. values: name -> scalar (numpy, jax, Python); time: what differs from run to run (seconds)."""
        if taken := [name for name in values if name in RESERVED]:
            raise ValueError(f"{taken[0]!r} cannot name a metric: the rows of {METRICS} use it themselves")
        numbers = {name: _number(value) for name, value in values.items()}
        row: dict[str, Any] = {"step": int(step), "split": split, **numbers}
        if time:
            row["time"] = {name: _number(value) for name, value in time.items()}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        if self._events:
            timed = {f"time/{name}": value for name, value in row.get("time", {}).items()}
            for tag, value in ({f"{split}/{name}": v for name, v in numbers.items()} | timed).items():
                self._events.add_scalar(tag, math.nan if value is None else value, int(step))

    def images(self, step: int, name: str, columns: Mapping[str, Array], *, labels: Sequence[str] = ()) -> Path:
        """Write a sheet of `columns` {label: `[N, H, W, C]` in [0, 1]}, a label for each row, to `samples/NAME_STEP.png`;
        returns its path.
        """
        sheet = sample_sheet(columns, labels=labels)
        path = self.workdir / "samples" / f"{name}_{int(step):06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(encoded := io.BytesIO(), format="PNG")
        replace(path, encoded.getvalue())
        if self._events:
            layout = "HW" if sheet.ndim == 2 else "HWC"
            self._events.add_image(name, sheet, int(step), dataformats=layout)
        return path

    def close(self) -> None:
        """Finish the files."""
        self._file.close()
        if self._events:
            self._events.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Muted(Writer):
    """A writer that writes nothing: for all processes of a run but the first."""

    def __init__(self) -> None:
        pass

    def scalars(self, step: int, split: str, values: Mapping[str, Any], time: Mapping[str, Any] | None = None) -> None:
        """Nothing."""

    def images(self, step: int, name: str, columns: Mapping[str, Array], *, labels: Sequence[str] = ()) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    """[0, 1] -> 0..255, a fixed range for every picture; what is not finite is shown black."""
    return np.rint(np.clip(np.nan_to_num(picture, nan=0.0), 0, 1) * 255).astype(np.uint8)


def coloured(pictures: Array, name: str) -> np.ndarray:
    """`[N, H, W, 1]` in [0, 1] -> `[N, H, W, 3]` in matplotlib's colour map `name`. ConfigError for an unknown one."""
    from matplotlib import colormaps

    if name not in colormaps:
        raise ConfigError(f"there is no colour map {name!r}; viridis, magma and cividis are perceptually uniform")
    return colormaps[name](np.asarray(pictures)[..., 0])[..., :3].astype(np.float32)


def sample_sheet(
    columns: Mapping[str, Array], *, labels: Sequence[str] = (), min_side: int = 192, gap: int = 6
) -> np.ndarray:
    """A grid as uint8 `[h, w]` (`[h, w, 3]` with colour): a row for each image, a labelled column for each entry.

    columns: {label: `[N, H, W, C]` in [0, 1]}, one N for all, each of its own size. labels: a name for each row.
    Images smaller than `min_side` are magnified by a whole factor, pixel by pixel, so that nothing is invented.
    """
    arrays = {label: np.asarray(column, np.float32) for label, column in columns.items()}
    counts = {label: array.shape[0] for label, array in arrays.items()}
    if len(set(counts.values())) != 1 or any(a.ndim != 4 or a.shape[3] not in (1, 3) for a in arrays.values()):
        raise ValueError(
            f"a sample sheet needs columns [N, H, W, 1 or 3] of one N, not {[a.shape for a in arrays.values()]}"
        )
    coloured = any(array.shape[3] == 3 for array in arrays.values())
    tall = max(max(array.shape[1:3]) for array in arrays.values())
    factor = max(1, -(-min_side // tall))
    cell = tall * factor
    font = ImageFont.load_default(size=max(12, cell // 16))
    header, footer = int(font.size * 1.6), int(font.size * 1.5) if labels else 0
    pitch = cell + footer + gap
    size = (gap + len(arrays) * (cell + gap), header + max(counts.values()) * pitch)
    sheet = Image.new("RGB" if coloured else "L", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, (label, array) in enumerate(arrays.items()):
        x = gap + column * (cell + gap)
        draw.text((x + cell // 2, header // 2), label, fill="black", font=font, anchor="mm")
        for row, picture in enumerate(_to_bytes(array)):
            big = picture.repeat(factor, axis=0).repeat(factor, axis=1)
            y = header + row * pitch
            sheet.paste(Image.fromarray(big[:, :, 0] if big.shape[2] == 1 else big), (x, y))
            if labels and column == 0:
                draw.text((x, y + cell + footer // 2), labels[row], fill="black", font=font, anchor="lm")
    return np.asarray(sheet)
