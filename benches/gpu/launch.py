"""The kernels' parameters, and their launch through the CUDA driver by ctypes; no CUDA toolkit.

The parameters are those of `codegen/src/backend/mlir/abi.rs`. What packs them needs no GPU.
"""

import ctypes
from math import prod

WIDTH = {"f32": 4, "f16": 2, "bf16": 2}
MAX_DYNAMIC_SHARED, REGISTERS, LOCAL = 8, 4, 3


class Refused(Exception):
    """What the driver, or a manifest, does not allow."""


def chunks(time, chunk):
    return -(-time // chunk)


def table(batch, time, chunk):
    """Batch row, first step, steps and first chunk of every row: words of 64 bits."""
    each = chunks(time, chunk)
    return [word for row in range(batch) for word in (row, 0, time, row * each)]


def places(kernel, port, heads, groups):
    """How many a port has side by side: heads, groups, or blocks, which have a part each of what heads share."""
    kind, _, number = port["role"].partition(" ")
    shared = any(p["role"] == f"input {number}" and not p["by_head"] for p in kernel["ports"])
    if kind == "d_input" and shared:
        return heads // kernel["heads"]
    return heads if port["by_head"] else groups


def layout(kernel, port, batch, time, heads, groups):
    """Shape of a port's tensor without gaps, and its strides in bytes over batch, step, head."""
    kind, dims = port["role"].split()[0], port["dims"]
    chunk, side = kernel["chunk"], places(kernel, port, heads, groups)
    head = prod(dims) * WIDTH[port["dtype"]]
    if kind in ("input", "output", "d_output", "d_input"):
        return (batch, time, side, *dims), (time * side * head, side * head, head)
    if kind == "param":
        return (heads, *dims), (0, 0, head)
    if kind == "d_param":
        return (batch, heads, *dims), (heads * head, 0, head)
    if kind == "entering":
        return (batch * chunks(time, chunk), heads, *dims), (0, heads * head, head)
    raise Refused(f"port `{port['name']}` has the role `{port['role']}`, which is not known")


def parameters(kernel, table_address, shape, addresses, carries):
    """The parameters in order, each ('i' for 32 bits or 'q' for 64, number).

    `shape` is (B, T, H, G); `addresses` holds an address by role, `carries` a pair (enters or 0,
    leaves) by role.
    """
    batch, time, heads, groups = shape
    words = [("q", table_address), ("i", heads), ("i", heads // groups)]
    for port in kernel["ports"]:
        _, strides = layout(kernel, port, batch, time, heads, groups)
        words += [("q", word) for word in (addresses[port["role"]], *strides)]
    for carry in kernel["carries"]:
        words += [("q", word) for word in carries[carry["role"]]]
    return words


def pack(words):
    """The array of pointers that cuLaunchKernel takes, and what it points to."""
    held = [ctypes.c_int32(n) if kind == "i" else ctypes.c_int64(n) for kind, n in words]
    pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(word) for word in held))
    return pointers, held


class Driver:
    """libcuda, and the kernels loaded in the current context."""

    def __init__(self):
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as why:
            raise Refused(f"no NVIDIA driver: {why}") from why
        self.call("cuInit", 0)

    def call(self, name, *arguments):
        code = getattr(self.cuda, name)(*arguments)
        if code != 0:
            said = ctypes.c_char_p()
            self.cuda.cuGetErrorString(code, ctypes.byref(said))
            raise Refused(f"{name}: {(said.value or b'').decode()} ({code})")

    def own_context(self):
        """Makes the first GPU's primary context current, for a process without a framework."""
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def allocate(self, data_bytes, data=None):
        """Device memory of zeros, or of `data`."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(data_bytes, 1)))
        if data is None:
            self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(0), ctypes.c_size_t(data_bytes))
        else:
            self.call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(data_bytes))
        return address.value

    def load(self, kernel, ptx):
        """The kernel's function, its registers and its bytes of local memory."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx))
        name = kernel["name"].encode()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name)
        shared = kernel["shared_bytes"]
        if shared > 48 * 1024:
            self.call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, shared)
        found = []
        for attribute in (REGISTERS, LOCAL):
            value = ctypes.c_int()
            self.call("cuFuncGetAttribute", ctypes.byref(value), attribute, function)
            found.append(value.value)
        return function, found[0], found[1]

    def launch(self, kernel, function, grid, packed, stream=0):
        pointers, _ = packed
        x, y = grid
        self.call(
            "cuLaunchKernel", function, x, y, 1, kernel["threads"], 1, 1,
            kernel["shared_bytes"], ctypes.c_void_p(stream), pointers, None,
        )
