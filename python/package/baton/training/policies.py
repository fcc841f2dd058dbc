"""Where training sequences begin: one class for each policy of docs/training.md.

A policy draws the initial states of some sequences and observes the final states of a whole step. Drawing changes
nothing and depends on the step, the place of the sequences in its batch and the seed alone, so a batch computed twice
(gradient checkpointing) or in parts (gradient accumulation) begins at the same states. States are detached, one
`LayerState` for each layer; absent is zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ..transformers.ports import LayerState, States
from .distributed import summed


class Moment(NamedTuple):
    """What a policy knows when it is asked."""

    #: Optimiser steps done.
    step: int
    #: The sequences to draw for, as places in the step's batch, all parts together.
    rows: range
    #: Of every layer's state, without the batch.
    sizes: list[tuple[int, ...]]
    #: What random numbers follow from, beside the step and the place.
    key: tuple[int, ...]

    def random(self) -> torch.Generator:
        seed = np.random.SeedSequence([*self.key, self.step, self.rows.start]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed[0] >> np.uint64(1)))

    def fork(self, part: int) -> Moment:
        return self._replace(key=(*self.key, part))


def zeros(moment: Moment) -> States:
    return [LayerState(torch.zeros(len(moment.rows), *size)) for size in moment.sizes]


def chosen(mask: Tensor, states: States, others: Optional[States] = None) -> States:
    """The states where the mask of sequences is set; elsewhere those of the others, or zero."""

    def one(here: Optional[Tensor], there: Optional[Tensor]) -> Optional[Tensor]:
        some = here if here is not None else there
        if some is None:
            return None
        wide = mask.view(-1, *[1] * (some.dim() - 1))
        zero = some.new_zeros(())
        return torch.where(wide, zero if here is None else here, zero if there is None else there)

    there = others or [LayerState(torch.zeros(())) for _ in states]
    return [LayerState(one(a.recurrence, b.recurrence), one(a.conv, b.conv)) for a, b in zip(states, there)]


def cleared(states: States, p_zero: float, random: torch.Generator) -> States:
    """The same, each sequence at zero with a probability, in all layers at once."""
    count = states[0].recurrence.shape[0]
    return chosen(torch.rand(count, generator=random, dtype=torch.float64) >= p_zero, states)


class Policy:
    """A choice of initial states; this one is the control, at zero."""

    #: Whether a batch must continue the batch before.
    in_order = False
    #: Batches whose final states from zero it wants to see before the first step.
    fit_batches = 0
    #: Whether it wants to see final states.
    observes = False

    def draw(self, moment: Moment) -> Optional[States]:
        return None

    def observe(self, finals: States) -> None:
        """Takes the final states of a step, or of one batch run to be recorded."""

    def restart(self, slots: Optional[list[int]]) -> None:
        """Slots of the batch whose text ends: they begin at zero. `None` is all."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"`{next(iter(state))}` given, which this policy of initial states does not carry")


class Noise(Policy):
    """Gaussian, of mean 0 and one deviation for all layers and heads."""

    def __init__(self, std: float, p_zero: float) -> None:
        self.std, self.p_zero = std, p_zero

    def draw(self, moment: Moment) -> Optional[States]:
        random = moment.random()
        shapes = [(len(moment.rows), *size) for size in moment.sizes]
        states = [LayerState(torch.randn(shape, generator=random) * self.std) for shape in shapes]
        return cleared(states, self.p_zero, random)


class FittedNoise(Policy):
    """Gaussian, with mean and deviation by layer and head, recorded from final states (docs/training.md has the
    estimator). Under DistributedDataParallel the batch is that of all processes, so all record the same."""

    observes = True

    def __init__(self, momentum: float, fit: int, p_zero: float) -> None:
        self.momentum, self.fit_batches, self.p_zero = momentum, fit, p_zero
        self.seen = 0
        #: [H, 2] for each layer: the means of elements and of their squares.
        self.moments: list[Tensor] = []

    def draw(self, moment: Moment) -> Optional[States]:
        if self.seen == 0:
            return None
        random = moment.random()
        states = []
        for size, moments in zip(moment.sizes, self.moments):
            mean, square = moments.unbind(-1)
            std = (square - mean * mean).clamp_min(0).sqrt()
            mean, std = [x.float().view(-1, *[1] * (len(size) - 1)) for x in (mean, std)]
            states.append(LayerState(mean + std * torch.randn(len(moment.rows), *size, generator=random)))
        return cleared(states, self.p_zero, random)

    def observe(self, finals: States) -> None:
        batch = []
        for layer in finals:
            heads = layer.recurrence.double().transpose(0, 1).flatten(1)
            sums = torch.stack([heads.sum(1), heads.square().sum(1), torch.full_like(heads[:, 0], heads.shape[1])])
            total, square, count = summed(sums)
            batch.append(torch.stack([total / count, square / count], -1))
        self.seen += 1
        weight = max(1 - self.momentum, 1 / self.seen)
        old = self.moments or batch
        self.moments = [mean + weight * (new - mean) for mean, new in zip(old, batch)]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "moments": list(self.moments)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.moments = state["seen"], list(state["moments"])


class StatePassing(Policy):
    """The final states of the previous step's batch: those of the same slot, which holds another sequence now. A
    batch with more sequences than that one had goes through them again."""

    observes = True

    def __init__(self, p_zero: float, conv: str) -> None:
        self.p_zero, self.conv = p_zero, conv
        self.carried: Optional[States] = None

    def slots(self, rows: range, count: int) -> Tensor:
        return torch.tensor([row % count for row in rows])

    def draw(self, moment: Moment) -> Optional[States]:
        if self.carried is None:
            return None
        slots = self.slots(moment.rows, self.carried[0].recurrence.shape[0])
        here = slots >= 0
        slots = slots.clamp_min(0)
        rows = [
            LayerState(layer.recurrence[slots], None if layer.conv is None else layer.conv[slots])
            for layer in self.carried
        ]
        return cleared(rows if here.all() else chosen(here, rows), self.p_zero, moment.random())

    def observe(self, finals: States) -> None:
        self.carried = finals if self.conv == "carried" else [LayerState(layer.recurrence) for layer in finals]

    def state_dict(self) -> dict[str, Any]:
        return {"carried": self.carried and [list(layer) for layer in self.carried]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        carried = state["carried"]
        self.carried = None if carried is None else [LayerState(*layer) for layer in carried]


class TruncatedBptt(StatePassing):
    """The final states of the text just before: slot b continues slot b, and one that was not there begins at zero."""

    in_order = True

    def slots(self, rows: range, count: int) -> Tensor:
        return torch.tensor([row if row < count else -1 for row in rows])

    def restart(self, slots: Optional[list[int]]) -> None:
        if slots is None or self.carried is None:
            self.carried = None
            return
        count = self.carried[0].recurrence.shape[0]
        outside = [slot for slot in slots if not 0 <= slot < count]
        if outside:
            raise ValueError(f"slot {outside[0]} given, expected one of the {count} of the last step's batch")
        kept = torch.ones(count, dtype=torch.bool)
        kept[slots] = False
        self.carried = chosen(kept, self.carried)


class Several(Policy):
    """What policies made of other policies share: each part has its own random numbers and sees the same states."""

    def __init__(self, parts: list[Policy]) -> None:
        self.parts = parts
        self.in_order = any(part.in_order for part in parts)
        self.observes = any(part.observes for part in parts)
        self.fit_batches = max((part.fit_batches for part in parts), default=0)

    def drawn(self, moment: Moment) -> list[Optional[States]]:
        return [part.draw(moment.fork(i)) for i, part in enumerate(self.parts)]

    def observe(self, finals: States) -> None:
        for part in self.parts:
            part.observe(finals)

    def restart(self, slots: Optional[list[int]]) -> None:
        for part in self.parts:
            part.restart(slots)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)


class Mixed(Several):
    """For each sequence one of several policies, by weights."""

    def __init__(self, weights: list[float], parts: list[Policy]) -> None:
        super().__init__(parts)
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def draw(self, moment: Moment) -> Optional[States]:
        which = torch.multinomial(self.weights, len(moment.rows), replacement=True, generator=moment.random())
        states: Optional[States] = None
        for i, drawn in enumerate(self.drawn(moment)):
            if drawn is not None:
                states = chosen(which == i, drawn, states or zeros(moment))
        return states


class WarmUp(Several):
    """The probability of beginning elsewhere than at zero rises linearly over so many steps."""

    def __init__(self, steps: int, policy: Policy) -> None:
        super().__init__([policy])
        self.steps = steps

    def draw(self, moment: Moment) -> Optional[States]:
        (states,) = self.drawn(moment)
        force = min(1.0, moment.step / max(self.steps, 1))
        return states and cleared(states, 1 - force, moment.random())


class After(Several):
    """Zero before a step."""

    def __init__(self, step: int, policy: Policy) -> None:
        super().__init__([policy])
        self.step = step

    def draw(self, moment: Moment) -> Optional[States]:
        return None if moment.step < self.step else self.drawn(moment)[0]


class Layers(Several):
    """Policies for some layers each; all others begin at zero."""

    def __init__(self, layers: list[list[int]], parts: list[Policy]) -> None:
        super().__init__(parts)
        self.layers = layers

    def draw(self, moment: Moment) -> Optional[States]:
        drawn = self.drawn(moment)
        if all(states is None for states in drawn):
            return None
        together = zeros(moment)
        for layers, states in zip(self.layers, drawn):
            for layer in layers if states is not None else []:
                together[layer] = states[layer]
        return together
