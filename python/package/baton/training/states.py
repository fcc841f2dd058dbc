"""Initial states bound to a model: drawn before each training forward, handed over once a step, after the update.

Every forward of the model in training mode with gradients is a part of the current step's batch, whatever their number;
forwards in evaluation begin at zero and are not seen. So a loop does nothing but say when a step is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Optional, Union

import torch
from torch import Tensor

from ..transformers import LayerState, States, accelerate, ports, stream, unwrapped
from ..transformers.ports import in_backward
from .config import built, parsed
from .distributed import rank, summed
from .policies import Moment


class InitialStates:
    """Where the training sequences of a model begin.

    `policy` is a line, JSON or a dict, as docs/training.md has them. The model is accelerated where it is not yet, and
    what drew its initial states before is detached. Under DistributedDataParallel every process has one of its own, with
    the same seed: states are carried by each process for its own sequences. With gradient checkpointing, run the backward
    of a forward before the next forward.
    """

    def __init__(
        self, model: torch.nn.Module, policy: Union[str, dict[str, Any]] = "state_passing", *, seed: int = 0
    ) -> None:
        self.model = unwrapped(model)
        accelerate(self.model)
        self._ports = ports(self.model)
        self.config = parsed(policy)
        self._policy = built(self.config, len(self._ports))
        self._seed = seed
        #: Optimiser steps done.
        self.steps = 0
        self._rows = 0
        self._finals: list[States] = []
        for port in self._ports:
            port.taken(self)
        self._hooks = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after),
        ]

    def __repr__(self) -> str:
        return f"InitialStates({self.config!r}, steps={self.steps})"

    @property
    def in_order(self) -> bool:
        """Whether each batch must continue the batch before, slot by slot."""
        return self._policy.in_order

    @property
    def fit_batches(self) -> int:
        """Batches that the policy wants to record before the first step: see `fit`."""
        return self._policy.fit_batches

    def _is_part(self) -> bool:
        return self.model.training and torch.is_grad_enabled() and not in_backward()

    def _before(self, _model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._is_part():
            batch = _batch(args, kwargs)
            rows = range(self._rows, self._rows + batch)
            sizes = [port.size for port in self._ports]
            drawn = self._policy.draw(Moment(self.steps, rows, sizes, (self._seed, rank())))
            self._rows += batch
            for port, state in zip(self._ports, drawn or [None] * len(self._ports)):
                port.begin(state, self._policy.observes)
        elif self.model.training:
            for port in self._ports:
                port.pass_by()

    def _after(self, _model: torch.nn.Module, _args: Any, _output: Any) -> None:
        if self._is_part() and self._policy.observes:
            self._finals.append([port.final for port in self._ports])
            for port in self._ports:
                port.final = None

    def step(self) -> None:
        """Says that the optimiser's step is done: its final states are handed on. If any is not finite the states of
        the step before stay in place."""
        if any(port.owner is not self for port in self._ports):
            raise RuntimeError("a step of initial states that are detached from the model, expected of those made last")
        if self._rows == 0:
            raise RuntimeError(
                "a step without a forward in training since the last one: sequences begin at initial states only while "
                "the model is in training mode (model.train()), and with gradients"
            )
        parts, self._finals, self._rows = self._finals, [], 0
        if parts:
            finals = [_joined(layers) for layers in zip(*parts)]
            finite = all(bool(x.isfinite().all()) for layer in finals for x in layer)
            if summed(torch.tensor([0.0 if finite else 1.0])).item() == 0:
                self._policy.observe(finals)
        self.steps += 1

    def fit(self, batches: Iterable[Union[Tensor, Mapping[str, Any]]]) -> None:
        """Records the final states of the first `fit_batches` of the batches (token ids, or arguments of the model),
        run from zero without a graph: what fitted noise draws from in its first steps."""
        for batch in islice(batches, self.fit_batches):
            ids = batch if isinstance(batch, Tensor) else batch["input_ids"]
            self._policy.observe(stream(self.model, None, input_ids=ids)[1])

    def restart(self, slots: Optional[Iterable[int]] = None) -> None:
        """Says that the text of slots (places in the step's batch; absent: all) ended: truncated BPTT begins what
        comes next there at zero."""
        self._policy.restart(None if slots is None else list(slots))

    def detach(self) -> None:
        """Lets the model begin at zero again."""
        for hook in self._hooks:
            hook.remove()
        for port in self._ports:
            if port.owner is self:
                port.begin(None, False)
                port.owner = None
        self._finals, self._rows = [], 0

    def state_dict(self) -> dict[str, Any]:
        """What the next step follows from, between steps: tensors, numbers and text, for `torch.save`."""
        return {"config": self.config, "seed": self._seed, "steps": self.steps, "policy": self._policy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, own in [("config", self.config), ("seed", self._seed)]:
            if state[key] != own:
                raise ValueError(f"initial states with {key} {state[key]!r} given, expected {own!r}")
        self._policy.load_state_dict(state["policy"])
        self.steps, self._rows, self._finals = state["steps"], 0, []


def _batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    for given in (kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args[:1]):
        if isinstance(given, Tensor):
            return given.shape[0]
    raise TypeError(
        "the model was called without `input_ids` or `inputs_embeds`: how many sequences begin is not known"
    )


def _joined(layers: tuple[LayerState, ...]) -> LayerState:
    return LayerState(*(torch.cat(tensors) for tensors in zip(*layers)))
