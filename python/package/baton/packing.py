"""Rows of sequences laid end to end, so that a recurrence's offsets say where each begins."""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class Packed(NamedTuple):
    """How B rows of T steps lie in a run."""

    #: The offsets; absent where every row is one sequence.
    cu_seqlens: Optional[Tensor]
    #: For each row its first and last sequence, and whether the first is that of index 0.
    first: Optional[Tensor] = None
    final: Optional[Tensor] = None
    begun: Optional[Tensor] = None

    def steps(self, tensor: Tensor) -> Tensor:
        """[B, T, ..] as the run reads it."""
        return tensor if self.cu_seqlens is None else tensor.flatten(0, 1)[None]

    def initial(self, name: str, states: Optional[Tensor]) -> Optional[dict[str, Tensor]]:
        """The initial states of rows, or of all sequences, as those of all sequences."""
        if states is None:
            return None
        if self.cu_seqlens is not None:
            rows, sequences = len(self.first), len(self.cu_seqlens) - 1
            if states.shape[0] == rows:
                states = states.where(self.begun.view(-1, *[1] * (states.dim() - 1)), 0.0)
                states = states.new_zeros(sequences, *states.shape[1:]).index_copy(0, self.first, states)
            elif states.shape[0] != sequences:
                raise ValueError(
                    f"tensor `initial_states` has {states.shape[0]} sequences, expected {rows} rows or {sequences} "
                    "sequences"
                )
        return {name: states}

    def last(self, states: Tensor) -> Tensor:
        """The final states of rows."""
        return states if self.cu_seqlens is None else states[self.final]

    def between(self, cu_seqlens: Tensor, states: Tensor, steps: int) -> Tensor:
        """The final states of the sequences between offsets of the only row, zero where one is empty. Each has to be
        whole: what a part of one leaves behind is not known."""
        known = states.new_tensor([0, steps], dtype=torch.int64) if self.cu_seqlens is None else self.cu_seqlens
        offsets = cu_seqlens.to(known)
        at = torch.searchsorted(known, offsets).clamp_max(len(known) - 1)
        counts, bound = at.diff(), known[at] == offsets
        whole = bound[:-1] & bound[1:] & ((counts == 0) | (counts == 1))
        if not whole.all():
            i = int((~whole).nonzero()[0])
            raise ValueError(
                f"tensor `cu_seqlens` has a sequence from {offsets[i]} to {offsets[i + 1]}, expected one that begins and "
                "ends where `seq_idx` changes (absent: the row is one)"
            )
        (held,) = counts.nonzero(as_tuple=True)
        return states.new_zeros(len(counts), *states.shape[1:]).index_copy(0, held, states[at[held]])


def packed(rows: int, steps: int, seq_idx: Optional[Tensor]) -> Packed:
    """Sequences begin where `seq_idx` [rows, steps] changes."""
    if seq_idx is None:
        return Packed(None)
    if seq_idx.shape != (rows, steps):
        raise ValueError(f"tensor `seq_idx` has shape {list(seq_idx.shape)}, expected [{rows}, {steps}]")
    begins = torch.ones(rows, steps, dtype=torch.bool, device=seq_idx.device)
    begins[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    (places,) = begins.flatten().nonzero(as_tuple=True)
    counts = begins.sum(1).cumsum(0)
    first = torch.cat([counts.new_zeros(1), counts[:-1]])
    return Packed(torch.cat([places, places.new_tensor([rows * steps])]), first, counts - 1, seq_idx[:, 0] == 0)
