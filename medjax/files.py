"""Files and folders written whole or not at all, and what tells one file from another."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medjax.types import ConfigError


def replace(path: str | os.PathLike, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) beside `path`, then rename: a full disk or a kill leaves the old file whole.

    Raises OSError where the folder cannot be written to.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its place at the end; on an error what was there stays."""
    above = folder.absolute().parent
    above.mkdir(parents=True, exist_ok=True)
    held = Path(tempfile.mkdtemp(dir=above, prefix=f".{folder.name}."))
    (part := held / "new").mkdir()
    try:
        yield part
        if folder.exists():
            folder.rename(held / "old")
        try:
            part.rename(folder)
        except OSError:
            if (held / "old").exists():
                (held / "old").rename(folder)
            raise
    finally:
        shutil.rmtree(held, ignore_errors=True)


def check_free(folder: Path, *, marker: str, what: str, overwrite: bool) -> None:
    """Raises ConfigError where something is in the way of a folder of `what` that may not be replaced: with `overwrite` anything
    but an earlier one, which has the file `marker`.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, where a folder is to be written")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ConfigError(f"{folder} exists and is not empty; give another folder, or --overwrite")
        if not (folder / marker).is_file():
            raise ConfigError(f"{folder} is not overwritten: it has no {marker}, so it is no folder of {what}")


def sha256(path: str | os.PathLike) -> str:
    """The file's sha256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
