"""Rows of sequences laid end to end, so that a recurrence's offsets say where each begins."""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class Packed(NamedTuple):
    """How B rows of T steps lie in a run."""

    #: The offsets; absent where every row is one sequence.
    cu_seqlens: Optional[Tensor]
    #: For each row its first and last sequence.
    first: Optional[Tensor] = None
    final: Optional[Tensor] = None

    def steps(self, tensor: Tensor) -> Tensor:
        """[B, T, ..] as the run reads it."""
        return tensor if self.cu_seqlens is None else tensor.flatten(0, 1)[None]

    def initial(self, name: str, states: Optional[Tensor]) -> Optional[dict[str, Tensor]]:
        """The initial states of rows, or of all sequences, as those of all sequences."""
        if states is None:
            return None
        if self.cu_seqlens is not None and states.shape[0] != len(self.cu_seqlens) - 1:
            if states.shape[0] != len(self.first):
                raise ValueError(
                    f"tensor `initial_states` has {states.shape[0]} sequences, expected {len(self.first)} rows or "
                    f"{len(self.cu_seqlens) - 1} sequences"
                )
            every = states.new_zeros(len(self.cu_seqlens) - 1, *states.shape[1:])
            states = every.index_copy(0, self.first, states)
        return {name: states}

    def last(self, states: Tensor) -> Tensor:
        """The final states of rows."""
        return states if self.cu_seqlens is None else states[self.final]


def packed(rows: int, steps: int, seq_idx: Optional[Tensor], cu_seqlens: Optional[Tensor]) -> Packed:
    """Sequences begin where `seq_idx` [rows, steps] changes, or at offsets of the only row."""
    if cu_seqlens is not None:
        cu_seqlens = cu_seqlens.to(torch.int64)
        return Packed(cu_seqlens, cu_seqlens.new_tensor([0]), cu_seqlens.new_tensor([len(cu_seqlens) - 2]))
    if seq_idx is None:
        return Packed(None)
    if seq_idx.shape != (rows, steps):
        raise ValueError(f"tensor `seq_idx` has shape {list(seq_idx.shape)}, expected [{rows}, {steps}]")
    begins = torch.ones(rows, steps, dtype=torch.bool, device=seq_idx.device)
    begins[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    (places,) = begins.flatten().nonzero(as_tuple=True)
    counts = begins.sum(1).cumsum(0)
    first = torch.cat([counts.new_zeros(1), counts[:-1]])
    return Packed(torch.cat([places, places.new_tensor([rows * steps])]), first, counts - 1)
