"""The layouts of PyTorch's arrays and Flax's, and the walk from one set of names to the other.

| layer | PyTorch | Flax |
|---|---|---|
| dense | weight `[out, in]` | kernel `[in, out]` |
| convolution | weight `[out, in, kh, kw]` | kernel `[kh, kw, in, out]` |
| transposed convolution | weight `[in, out, kh, kw]` | kernel `[kh, kw, out, in]` (see `medjax.models.conv`) |
| norm | weight, bias, running_mean, running_var | params scale, bias; batch_stats mean, var |

A mapping table is `{Flax module: PyTorch module}`, both as paths. PyTorch's `num_batches_tracked` has no use at test time: it
is accepted and not kept, and PyTorch loads a state dict without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax.types import CheckpointError, PyTree

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTERS = r"(.*\.)?num_batches_tracked"


def to_flax(array: np.ndarray, leaf: str) -> np.ndarray:
    """A PyTorch array as Flax keeps it. Convolution and transposed convolution turn alike: their two channel axes trade
    roles in both libraries.
    """
    if leaf == "kernel":
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return np.asarray(array, np.float32)  # a view: the large kernels are copied once, to their device


def to_torch(array: np.ndarray, leaf: str) -> np.ndarray:
    """A Flax array as PyTorch keeps it."""
    array = np.asarray(array, np.float32)
    if leaf == "kernel":
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array)


def names_of(variables: PyTree, table: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """{path of a Flax array: PyTorch's name}, in the order of the table.

    Raises CheckpointError for an array whose module is not in the table.
    """
    names, order = {}, {module: i for i, module in enumerate(table)}
    for path in flatten_dict(variables):
        module = "/".join(path[1:-1])
        if module not in table or path[-1] not in LEAVES:
            raise CheckpointError(f"{'/'.join(path)} has no name in the published layout")
        names[path] = f"{table[module]}.{LEAVES[path[-1]]}"
    leaves = list(LEAVES)
    return dict(sorted(names.items(), key=lambda item: (order["/".join(item[0][1:-1])], leaves.index(item[0][-1]))))


def from_state(
    state: Mapping[str, np.ndarray], variables: PyTree, table: Mapping[str, str], *, what: str, ignored: Sequence[str] = ()
) -> PyTree:
    """The PyTorch `state` as a Flax tree like `variables` (arrays or shapes).

    Every tensor is used exactly once, except the counters and those whose whole name matches one of `ignored` (regular
    expressions). Raises CheckpointError with the first name that differs, both shapes, and the names missing and left over.
    """
    names, shapes = names_of(variables, table), flatten_dict(variables)
    skip = re.compile("|".join(f"(?:{rule})" for rule in (COUNTERS, *ignored)))
    expected = {name: _torch_shape(shapes[path].shape, path[-1]) for path, name in names.items()}
    found = {name: tuple(a.shape) for name, a in state.items() if name in expected or not skip.fullmatch(name)}
    _check(expected, found, what)
    return unflatten_dict({path: to_flax(state[name], path[-1]) for path, name in names.items()})


def to_state(variables: PyTree, table: Mapping[str, str]) -> dict[str, np.ndarray]:
    """A Flax tree as a PyTorch state dict: the inverse of `from_state`, to the bit."""
    flat = flatten_dict(variables)
    return {name: to_torch(flat[path], path[-1]) for path, name in names_of(variables, table).items()}


def _torch_shape(shape: Sequence[int], leaf: str) -> tuple[int, ...]:
    if leaf != "kernel":
        return tuple(shape)
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else tuple(reversed(shape))


def _check(expected: Mapping[str, tuple], found: Mapping[str, tuple], what: str) -> None:
    wrong = [name for name in [*expected, *(n for n in found if n not in expected)] if expected.get(name) != found.get(name)]
    if not wrong:
        return
    first = wrong[0]
    told = f"{first} is {_told(found.get(first))} there and {_told(expected.get(first))} here"
    lists = {
        "missing": [n for n in expected if n not in found],
        "left over": [n for n in found if n not in expected],
        "of another shape": [n for n in wrong if n in expected and n in found],
    }
    rest = "; ".join(f"{kind}: {_some(names)}" for kind, names in lists.items() if names)
    raise CheckpointError(f"{what} has another architecture: {told}; {rest}")


def _told(shape: tuple | None) -> str:
    return "absent" if shape is None else str(list(shape))


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
