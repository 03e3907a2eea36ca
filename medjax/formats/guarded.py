"""Fragile decoders at arm's length: one child process, started when first needed, that may die or hang without harm."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from medjax.formats import decoder_child
from medjax.formats.decoder_child import HEADER, LENGTH, READY

_START = 60.0  # seconds for a child to import its libraries
_SECONDS, _PIXELS_PER_SECOND = 2.0, 2e6  # a frame takes less than a tenth of what this allows
_lock = threading.Lock()
_child: tuple[int, subprocess.Popen] | None = None


def available(module: str) -> bool:
    """Whether a decoder is installed."""
    return find_spec(module) is not None


def decode(stream: bytes, shape: tuple[int, int, int, int, int, int], photometric: str, syntax: str) -> bytes:
    """One frame's samples, colour by pixel, little-endian.

    Args:
      stream: the compressed frame.
      shape: rows, columns, samples per pixel, bits allocated, bits stored, pixel representation.
      photometric, syntax: the photometric interpretation and the transfer syntax UID.

    Raises:
      ValueError: the stream cannot be decoded, or decoding it crashed or took too long.
    """
    texts = f"{photometric} {syntax}".encode()
    with _lock:
        child = _running()
        timer = threading.Timer(_SECONDS + shape[0] * shape[1] / _PIXELS_PER_SECOND, child.kill)
        timer.start()
        try:
            child.stdin.write(HEADER.pack(*shape, len(texts), len(stream)) + texts + stream)
            child.stdin.flush()
            answer = child.stdout.read(LENGTH.size)
            length = LENGTH.unpack(answer)[0] if len(answer) == LENGTH.size else -1
            samples = child.stdout.read(length) if length >= 0 else b""
            if length < 0 or len(samples) != length:
                raise ValueError("its compressed pixels cannot be decoded")
            return samples
        except OSError as error:
            raise ValueError("its compressed pixels cannot be decoded") from error
        finally:
            timer.cancel()


def _running() -> subprocess.Popen:
    """The child of this very process: a forked one has its own."""
    global _child
    if _child is not None and _child[0] == os.getpid() and _child[1].poll() is None:
        return _child[1]
    _end()
    command = [sys.executable, "-I", str(Path(decoder_child.__file__))]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    _child = (os.getpid(), child)
    timer = threading.Timer(_START, child.kill)
    timer.start()
    try:
        if child.stdout.read(len(READY)) != READY:
            raise ValueError("the process that decodes its pixels does not start")
    finally:
        timer.cancel()
    return child


@atexit.register
def _end() -> None:
    """Ends this process's own child, if it has one."""
    if _child is None or _child[0] != os.getpid():
        return
    child = _child[1]
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # what was still to be sent to the dead
            pipe.close()
