"""What the tests share: golden values, random arguments of any recurrence, and the largest error."""

import json
import struct
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
OUTER = {"B": "batch", "T": "time", "H": "heads", "G": "groups"}


def golden(file, name):
    """The arrays of one recurrence in a file of golden values (safetensors, float64), by the rest of their names."""
    data = (REPOSITORY / "tests" / "golden" / f"{file}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    found = {}
    for key, entry in header.items():
        if key.startswith(name + "."):
            first, last = entry["data_offsets"]
            array = np.frombuffer(body[first:last], "<f8").reshape(entry["shape"])
            found[key[len(name) + 1 :]] = array
    return found


def sizes(recurrence, rng, time=None, most=9):
    """A random size for every symbol of a layout."""
    groups = int(rng.integers(1, 3))
    size = {
        "B": int(rng.integers(1, 4)),
        "T": int(rng.integers(1, 50)) if time is None else time,
        "G": groups,
        "H": groups * int(rng.integers(1, 4)),
    }
    size.update((dim, int(rng.integers(1, most))) for dim in recurrence.dims)
    return size


def arguments(recurrence, rng, size, dtype=np.float32, sequences=None):
    """Random inputs and params, and initial states; of numbers that float32 holds, in any dtype."""

    def draw(layout):
        return rng.standard_normal([size[symbol] for symbol in layout]).astype(np.float32).astype(dtype) * dtype(0.5)

    tensors = {port.name: draw(port.layout) for port in recurrence.inputs + recurrence.params}
    states = {}
    for port in recurrence.states:
        shape = [sequences or size["B"], *(size[symbol] for symbol in port.layout[1:])]
        states[port.name] = rng.standard_normal(shape).astype(np.float32).astype(dtype) * dtype(0.5)
    return tensors, states


def strided(array, rng):
    """The same numbers elsewhere: axes in another order in memory, gaps between elements, an odd start."""
    order = rng.permutation(array.ndim)
    gaps = [int(rng.integers(1, 3)) for _ in range(array.ndim)]
    shape = [size * gap + 3 for size, gap in zip(array.shape, gaps)]
    memory = np.full([shape[axis] for axis in order], np.nan, array.dtype)
    view = memory.transpose(np.argsort(order))
    view = view[tuple(slice(1, 1 + size * gap, gap) for size, gap in zip(array.shape, gaps))]
    view[...] = array
    return view


def error(found, expected):
    """The largest difference, as a share of the largest number expected (of one, where that is less)."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert np.isfinite(found).all()
    if expected.size == 0:
        return 0.0
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
