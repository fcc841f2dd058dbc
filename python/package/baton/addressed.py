"""The operators of `torch` on memory of a GPU: tensors go by address, on the stream that PyTorch is on, to the kernels
that come with the package; nothing is copied that lies as they read it, and nothing waits.

Kernels have matrices in bfloat16 where the first input is, else in float32; what is given in another dtype is converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import torch
from torch import Tensor

from . import _baton

#: By the type of a device: its name, its number and the stream that work is put on.
DEVICES: dict[str, Callable[[torch.device], tuple[str, int, int]]] = {
    "cuda": lambda device: ("cuda", device.index or 0, torch.cuda.current_stream(device).cuda_stream),
}
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Call(NamedTuple):
    """What both runs read, laid out as kernels read it."""

    kernel: _baton.Addressed
    stream: int
    device: torch.device
    tensors: list[Tensor]
    #: Of every state, absent ones `None`.
    states: list[Optional[Tensor]]

    def read(self) -> tuple[list[Any], list[int]]:
        return [_place(tensor) for tensor in self.tensors], [_address(state) for state in self.states]

    def room(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)


def _call(core: _baton.Recurrence, tensors: Sequence[Tensor], given: str, cu_seqlens: Optional[Tensor]) -> _Call:
    ports = [*core.inputs, *core.params]
    names = [port.name for port in ports] + given.split()
    tensors = [tensor.detach() for tensor in tensors]
    device = tensors[0].device
    for name, tensor in zip(names, tensors):
        if tensor.device != device:
            raise ValueError(f"tensor `{name}` is on `{tensor.device}`, expected on `{device}` as `{names[0]}`")
        if tensor.dtype not in _DTYPES:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise TypeError(
                f"tensor `{name}` holds {dtype}, expected float32, bfloat16 or float16 on `{device}`; float64 runs on "
                "the CPU"
            )
    name, number, stream = DEVICES[device.type](device)
    states = dict(zip(given.split(), tensors[len(ports) :]))
    every = [states.get(port.name) for port in core.states]
    kernel = _baton.Addressed(
        core,
        name,
        number,
        tensors[0].dtype == torch.bfloat16,
        [tensor.shape for tensor in tensors[: len(ports)]],
        [None if state is None else state.shape for state in every],
        None if cu_seqlens is None else cu_seqlens.cpu(),
    )
    inputs = [getattr(torch, dtype) for dtype in kernel.inputs]
    count = len(inputs)
    return _Call(
        kernel,
        stream,
        device,
        [_laid(tensor.to(dtype), 3) for tensor, dtype in zip(tensors, inputs)]
        + [_laid(tensor.float(), 1) for tensor in tensors[count : len(ports)]],
        [None if state is None else _laid(state.float(), 0) for state in every],
    )


def forward(core: _baton.Recurrence, tensors: Sequence[Tensor], given: str, cu_seqlens: Optional[Tensor]) -> list[Tensor]:
    call = _call(core, tensors, given, cu_seqlens)
    outputs = [call.room(shape, getattr(torch, dtype)) for dtype, shape in call.kernel.outputs]
    states = [call.room(shape, torch.float32) for shape in call.kernel.states]
    call.kernel.forward(call.stream, *call.read(), [_place(output) for output in outputs], [_address(s) for s in states])
    return [output.to(tensors[0].dtype) for output in outputs] + states


def backward(
    core: _baton.Recurrence,
    tensors: Sequence[Tensor],
    given: str,
    cu_seqlens: Optional[Tensor],
    arriving: Sequence[Optional[Tensor]],
) -> list[Tensor]:
    call = _call(core, tensors, given, cu_seqlens)
    dtypes = [getattr(torch, dtype) for dtype, _ in call.kernel.outputs]
    dtypes += [torch.float32] * len(call.states)
    laid = [
        None if tensor is None else _laid(tensor.detach().to(dtype), 3 if i < len(core.outputs) else 0)
        for i, (tensor, dtype) in enumerate(zip(arriving, dtypes))
    ]
    d_outputs, d_states = laid[: len(core.outputs)], laid[len(core.outputs) :]
    gradients = [call.room(tensor.shape, tensor.dtype) for tensor in call.tensors]
    initial = [call.room(shape, torch.float32) for shape in call.kernel.states]
    call.kernel.backward(
        call.stream,
        *call.read(),
        [(0, []) if tensor is None else _place(tensor) for tensor in d_outputs],
        [_address(state) for state in d_states],
        [_place(gradient) for gradient in gradients],
        [_address(state) for state in initial],
    )
    by_name = {port.name: state for port, state in zip(core.states, initial)}
    found = gradients + [by_name[name] for name in given.split()]
    return [gradient.to(tensor.dtype) for gradient, tensor in zip(found, tensors)]


def _laid(tensor: Tensor, outer: int) -> Tensor:
    """As kernels read it: beginning at a multiple of 16 bytes, all dims but the `outer` ones side by side, and these at
    multiples of 16 bytes too where they have gaps."""
    stride, dense = 1, True
    for size, step in zip(reversed(tensor.shape[outer:]), reversed(tensor.stride()[outer:])):
        dense = dense and (size == 1 or step == stride)
        stride *= size
    apart = dense and all(step % 16 == 0 for step in _place(tensor)[1][:outer])
    if tensor.data_ptr() % 16 == 0 and (apart or tensor.is_contiguous()):
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _address(tensor: Optional[Tensor]) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _place(tensor: Tensor) -> tuple[int, list[int]]:
    # Where a dim has one element its stride says nothing, and may be any number.
    strides = [0 if size == 1 else step * tensor.element_size() for size, step in zip(tensor.shape, tensor.stride())]
    return tensor.data_ptr(), strides
