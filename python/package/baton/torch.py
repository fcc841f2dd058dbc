"""Recurrences as an operator of PyTorch: differentiable in every input, param and initial state, from every output and
final state; for eager mode and ``torch.compile(fullgraph=True)``. Tensors are on the CPU, or all on one GPU (`addressed`).

    import baton.torch
    gla = baton.torch.Recurrence("gla")
    outputs, final_state = gla(q=q, k=k, v=v, g=g, output_final_state=True)

The two operators, ``baton::forward`` and ``baton::backward``, take a recurrence by its text, so one pair serves all.
They know the text and order; names, low precision and absent states are dealt with around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Optional, Union

import torch
from torch import Tensor

from . import _baton, addressed
from ._types import Port, Run

__all__ = ["Recurrence"]

_LOW = (torch.bfloat16, torch.float16)


@lru_cache(maxsize=None)
def _core(text: str) -> _baton.Recurrence:
    return _baton.Recurrence.from_text(text)


def _arguments(
    text: str, tensors: Sequence[Tensor], given: str, cu_seqlens: Optional[Tensor]
) -> tuple[_baton.Recurrence, dict[str, Any]]:
    """Tensors in order, those of initial states last and named by `given`, as arguments of the core."""
    core = _core(text)
    names = [port.name for port in core.inputs + core.params]
    tensors = [tensor.detach() for tensor in tensors]
    arguments: dict[str, Any] = dict(zip(names, tensors))
    arguments["initial_state"] = dict(zip(given.split(), tensors[len(names) :]))
    arguments["cu_seqlens"] = cu_seqlens
    return core, arguments


def _by_address(tensors: Sequence[Tensor]) -> bool:
    return any(tensor.device.type in addressed.DEVICES for tensor in tensors)


def _taken(*results: dict[str, Any]) -> list[Tensor]:
    return [torch.from_dlpack(array) for result in results for array in result.values()]


@torch.library.custom_op(
    "baton::forward",
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema="(str text, Tensor[] tensors, str given, Tensor? cu_seqlens) -> Tensor[]",
)
def _forward(text, tensors, given, cu_seqlens):
    if _by_address(tensors):
        return addressed.forward(_core(text), tensors, given, cu_seqlens)
    core, arguments = _arguments(text, tensors, given, cu_seqlens)
    _baton.follow_num_threads(torch.get_num_threads())
    return _taken(*core(output_final_state=True, **arguments))


@torch.library.custom_op(
    "baton::backward",
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema="(str text, Tensor[] tensors, str given, Tensor? cu_seqlens, Tensor?[] arriving) -> Tensor[]",
)
def _backward(text, tensors, given, cu_seqlens, arriving):
    if _by_address(tensors):
        return addressed.backward(_core(text), tensors, given, cu_seqlens, arriving)
    core, arguments = _arguments(text, tensors, given, cu_seqlens)
    _baton.follow_num_threads(torch.get_num_threads())
    arriving = [None if tensor is None else tensor.detach() for tensor in arriving]
    outputs = [port.name for port in core.outputs]
    states = [port.name for port in core.states]
    gradients = core.backward(
        d_outputs=dict(zip(outputs, arriving)),
        d_final_state=dict(zip(states, arriving[len(outputs) :])),
        **arguments,
    )
    initial = {name: gradients.initial_state[name] for name in given.split()}
    return _taken(gradients.inputs, gradients.params, initial)


def _sizes(
    core: _baton.Recurrence, tensors: Sequence[Tensor], given: str, cu_seqlens: Optional[Tensor]
) -> dict[str, Any]:
    """The size of every symbol of a layout, the first that is met; only the ranks are checked, as a run checks all."""
    states = {port.name: port for port in core.states}
    ports = [*core.inputs, *core.params, *(states[name] for name in given.split())]
    sizes: dict[str, Any] = {}
    for port, tensor in zip(ports, tensors):
        if tensor.dim() != len(port.layout):
            layout = ", ".join(port.layout)
            raise ValueError(f"tensor `{port.name}` has shape {list(tensor.shape)}, expected [{layout}]")
        for symbol, size in zip(port.layout, tensor.shape):
            sizes.setdefault(symbol, size)
    sizes.setdefault("H", sizes.get("G"))
    return sizes


@_forward.register_fake
def _(text, tensors, given, cu_seqlens):
    core = _core(text)
    sizes = _sizes(core, tensors, given, cu_seqlens)
    outputs = [[sizes[symbol] for symbol in port.layout] for port in core.outputs]
    sequences = sizes["B"] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    states = [[sequences, *(sizes[symbol] for symbol in port.layout[1:])] for port in core.states]
    first = tensors[0]
    kept = torch.float32 if first.dtype in _LOW else first.dtype
    return [first.new_empty(shape) for shape in outputs] + [first.new_empty(shape, dtype=kept) for shape in states]


@_backward.register_fake
def _(text, tensors, given, cu_seqlens, arriving):
    return [tensor.new_empty(tensor.shape) for tensor in tensors]


def _remember(ctx, inputs, output):
    text, tensors, given, cu_seqlens = inputs
    ctx.text, ctx.given, ctx.packed = text, given, cu_seqlens is not None
    ctx.save_for_backward(*tensors, *([cu_seqlens] if ctx.packed else []))


def _pull(ctx, arriving):
    saved = list(ctx.saved_tensors)
    cu_seqlens = saved.pop() if ctx.packed else None
    return None, _backward(ctx.text, saved, ctx.given, cu_seqlens, arriving), None, None


_forward.register_autograd(_pull, setup_context=_remember)


@_forward.register_vmap
def _(info, in_dims, *arguments):
    raise NotImplementedError("baton.torch.Recurrence takes no vmap: give what is mapped over as the batch, B")


class Recurrence:
    """A recurrence on tensors of PyTorch. `recurrence` is a `baton.Recurrence` or the name of a built-in one."""

    def __init__(self, recurrence: Union[_baton.Recurrence, str]) -> None:
        if isinstance(recurrence, str):
            recurrence = _baton.Recurrence(recurrence)
        self.name: str = recurrence.name
        self.text: str = recurrence.text
        self.inputs: tuple[Port, ...] = recurrence.inputs
        self.params: tuple[Port, ...] = recurrence.params
        self.states: tuple[Port, ...] = recurrence.states
        self.outputs: tuple[Port, ...] = recurrence.outputs
        # What follows is read while `torch.compile` traces, which sees into plain lists of names.
        self._tensors = [port.name for port in recurrence.inputs + recurrence.params]
        self._states = [port.name for port in recurrence.states]
        self._outputs = [port.name for port in recurrence.outputs]

    def __repr__(self) -> str:
        return f"baton.torch.Recurrence({self.name!r})"

    def __call__(
        self,
        *,
        initial_state: Optional[Mapping[str, Optional[Tensor]]] = None,
        output_final_state: bool = False,
        cu_seqlens: Optional[Tensor] = None,
        **tensors: Tensor,
    ) -> Run:
        """As `baton.Recurrence`, differentiable. float32; float64 throughout; or bfloat16 and float16 in any mixture
        with float32: computed in float32, with outputs in the dtype of the first input and final states in float32."""
        initial_state = {} if initial_state is None else initial_state
        _check(f"`{self.name}`", tensors, self._tensors)
        _check("`initial_state`", initial_state, self._states)
        missing = [name for name in self._tensors if tensors.get(name) is None]
        if missing:
            raise TypeError(f"tensor `{missing[0]}` is missing: `{self.name}` takes {', '.join(self._tensors)}")
        given = [name for name in self._states if initial_state.get(name) is not None]
        flat = [_wide(name, tensors[name]) for name in self._tensors]
        flat += [_wide(name, initial_state[name]) for name in given]
        results = _forward(self.text, flat, " ".join(given), cu_seqlens)
        dtype = tensors[self._tensors[0]].dtype
        outputs = {name: result.to(dtype) for name, result in zip(self._outputs, results)}
        final_state = dict(zip(self._states, results[len(outputs) :])) if output_final_state else None
        return Run(outputs, final_state)


def _check(of: str, given: Mapping[str, Any], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise TypeError(f"{of} has no tensor `{name}`, only {', '.join(names)}")


def _wide(name: str, tensor: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor `{name}` is of type `{type(tensor).__name__}`, expected a torch.Tensor")
    if tensor.device.type in addressed.DEVICES:
        return tensor
    if tensor.device.type != "cpu":
        raise ValueError(f"tensor `{name}` is on `{tensor.device}`, expected on the CPU or on a CUDA GPU")
    return tensor.float() if tensor.dtype in _LOW else tensor
