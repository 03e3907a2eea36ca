"""Files of named arrays: safetensors, npz, and PyTorch's through its own restricted reader."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.files import sha256
from medjax.types import CheckpointError

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")
ENTRIES = ("params_ema", "params", "state_dict", "model")  # what training code puts a state dict under; the average first
State = dict[str, np.ndarray]


def read_state(path: str | Path, *, entry: str = "") -> State:
    """The tensors of a file of weights by name, as numpy arrays.

    entry: where a `.pth` holds several state dicts, which one; "" takes the averaged one of BasicSR, then the usual names.
    A `module.` before every name, DataParallel's, is dropped. Raises CheckpointError for a file that is absent, damaged,
    of another kind or not finite, and for one that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"the weights {path} are absent")
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path} is no file of weights: they end in {', '.join(SUFFIXES)}")
    if path.suffix == ".safetensors":
        state, _ = _safetensors(path)
    elif path.suffix == ".npz":
        state = _npz(path)
    else:
        state = _torch(path, entry)
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: _checked(value, name, path) for name, value in state.items()}


def origin_sha256(path: str | Path) -> str:
    """The sha256 of the file that the weights were published in: told by an exported file's metadata, else its own."""
    told = _safetensors(Path(path), tensors=False)[1].get("source_sha256") if Path(path).suffix == ".safetensors" else ""
    return told or sha256(path)


def told(path: str | Path) -> dict[str, str]:
    """The metadata of a .safetensors file. Raises CheckpointError where it cannot be read."""
    return _safetensors(Path(path), tensors=False)[1]


class AbsentError(CheckpointError):
    """Weights that are not there, or that nothing installed here reads."""


COUNTERS = ("num_batches_tracked",)


def _checked(value: np.ndarray, name: str, path: Path) -> np.ndarray:
    if value.dtype.kind in "iub" and name.endswith(COUNTERS):
        return value  # counters, which no network reads
    if value.dtype.kind not in "f":
        raise CheckpointError(f"{path}: the tensor {name} holds {value.dtype}, where weights are floating-point numbers")
    value = np.asarray(value, np.float32)
    if not np.isfinite(value).all():
        raise CheckpointError(f"{path}: the tensor {name} is not finite")
    return value


def _safetensors(path: Path, *, tensors: bool = True) -> tuple[State, dict[str, str]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys() if tensors else ()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # a damaged file, or a type that numpy does not have, raises whatever the reader happens to
        raise CheckpointError(f"{path} cannot be read as safetensors ({_line(error)})") from error


def _npz(path: Path) -> State:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # as above
        raise CheckpointError(f"{path} cannot be read as npz without unpickling, which is never done ({_line(error)})") from error


def _torch(path: Path, entry: str) -> State:
    try:
        import torch
    except ImportError as error:
        raise AbsentError(
            f"{path} is a PyTorch file and torch is not installed: install it, or save the state dict as safetensors"
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors, and unpickling it could run any code; where its origin is trusted, "
            "save its state_dict() as safetensors"
        ) from error
    except Exception as error:  # torch raises many kinds for a file cut short; all of them mean "not readable"
        raise CheckpointError(f"{path} cannot be read as a PyTorch file ({_line(error)})") from error
    tensors = _entry(found, entry, path)
    # bfloat16 has no numpy kind
    return {name: (t.float() if t.is_floating_point() else t).detach().cpu().numpy() for name, t in tensors.items()}


def _entry(found: Any, entry: str, path: Path) -> Mapping[str, Any]:
    """The state dict of what was loaded."""
    names = [entry] if entry else [name for name in ENTRIES if isinstance(found, Mapping) and name in found]
    if isinstance(found, Mapping) and names:
        if names[0] not in found:
            raise CheckpointError(f"{path} has no entry {names[0]!r}; it has {', '.join(map(str, list(found)[:10]))}")
        found = found[names[0]]
    if not isinstance(found, Mapping) or not found or not all(hasattr(value, "is_floating_point") for value in found.values()):
        raise CheckpointError(f"{path} holds no state dict: names with tensors")
    return found


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
