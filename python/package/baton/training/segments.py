"""A text in order, as truncated BPTT reads it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def segments(tokens: Tensor, batch: int, length: int) -> Iterator[Tensor]:
    """The batches [batch, length + 1] of one reading of a text [T]: slot b holds the b-th of `batch` equal shares, and
    continues where it ended in the batch before (the last token of one is the first of the next). What is left over is
    not read. The next reading begins anew: `InitialStates.restart`."""
    if tokens.dim() != 1 or len(tokens) <= batch * length:
        raise ValueError(
            f"tokens of shape {list(tokens.shape)} given, expected more than batch * length = {batch * length} in one "
            "dimension"
        )
    share = (len(tokens) - 1) // batch
    for first in range(0, share - length + 1, length):
        yield tokens.unfold(0, length + 1, 1)[[slot * share + first for slot in range(batch)]]
