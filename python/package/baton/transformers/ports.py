"""The state ports of a model's mixers: where states enter and leave beside the arguments of a forward.

What enters in training stays until another state does, so that a layer which is computed again in the backward (gradient
checkpointing) begins where it began. Whose backward it is, only the graph knows: autograd numbers its nodes as they are
made, so a node from before that state is of an earlier forward, and refused. What is streamed enters in evaluation
alone, so neither sees the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional, Protocol

import torch
from torch import Tensor


class LayerState(NamedTuple):
    """The states of a layer, the sequence first: of the recurrence [B, H, dims...], and of the convolution."""

    recurrence: Tensor
    #: Its last inputs [B, C, W]; absent is zero.
    conv: Optional[Tensor] = None


States = list[LayerState]


def in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


class Owner(Protocol):
    """Who draws the initial states of ports."""

    def detach(self) -> None: ...


class Port:
    """The port of one mixer."""

    def __init__(self, size: tuple[int, ...], conv: tuple[int, ...]) -> None:
        #: Of the recurrence's state and of what the convolution remembers, without the batch.
        self.size, self.conv = size, conv
        self.initial: Optional[LayerState] = None
        self.streamed: Optional[LayerState] = None
        self.keeps = False
        self.final: Optional[LayerState] = None
        #: What draws the initial states of training.
        self.owner: Optional[Owner] = None
        #: Where a layer that is computed again begins, and since which node, by thread and number; absent: any.
        self._again: Optional[LayerState] = None
        self._since: Optional[tuple[int, int]] = None

    def taken(self, owner: Optional[Owner]) -> None:
        """Gives the port to who draws its initial states from now on; who did so before is detached."""
        if self.owner is not None:
            self.owner.detach()
        self.owner = owner

    def begin(self, initial: Optional[LayerState], keeps: bool) -> None:
        """The next training forward's initial state, and whether its final state is wanted."""
        if initial is not self._again:
            self._again, self._since = initial, (threading.get_ident(), torch.autograd._get_sequence_nr())
        self.initial, self.keeps, self.final = initial, keeps, None

    def pass_by(self) -> None:
        """The next training forward has no graph: it begins at zero, and nothing changes for a backward after it."""
        self.initial, self.keeps, self.final = None, False, None

    def entering(self, training: bool) -> Optional[LayerState]:
        if not training:
            return self.streamed
        if self._since is None or not in_backward():
            return self.initial
        thread, first = self._since
        if thread == threading.get_ident() and torch._C._current_autograd_node()._sequence_nr() < first:
            raise RuntimeError(
                "a backward through checkpointed layers of a forward whose initial states are gone, as the model has "
                "others by now: run the backward of each forward before the next forward"
            )
        return self._again

    def leave(self, recurrence: Tensor, conv: Tensor) -> None:
        if self.keeps and not in_backward():
            self.final = LayerState(recurrence.detach().float(), conv.detach().float())


def ports(model: torch.nn.Module) -> list[Port]:
    """The ports of an accelerated model, first layer first."""
    found = [module.baton_port for module in model.modules() if hasattr(module, "baton_port")]
    if not found:
        raise ValueError(f"`{type(model).__name__}` has no state ports: call baton.accelerate(model) first")
    return found


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside of DistributedDataParallel and its like."""
    while isinstance(getattr(model, "module", None), torch.nn.Module):
        model = model.module
    return model


def stream(model: torch.nn.Module, states: Optional[States], **arguments: Any) -> tuple[Any, States]:
    """Runs the model without a graph from states of every layer (absent is zero): its output and the final states.
    To feed a text piece by piece is the same as to feed it whole."""
    with _in_evaluation(model), torch.no_grad():
        every = ports(model)
        for port, state in zip(every, states or [None] * len(every)):
            port.streamed, port.keeps, port.final = state, True, None
        try:
            output = model(**arguments, use_cache=False)
            finals = [port.final for port in every]
        finally:
            for port in every:
                port.streamed, port.keeps, port.final = None, False, None
    return output, finals


@contextmanager
def _in_evaluation(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
