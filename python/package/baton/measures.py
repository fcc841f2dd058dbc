"""Measures of a model far past its training length, as `baton eval` has them (docs/evaluation.md): the same definitions
and fields of the results, on accelerated models of transformers.

Sequences are read in segments with every state carried, so memory does not depend on their length. `tokens` is a text
[T] of token ids that the model was not trained on.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor

from .transformers import LayerState, States, ports, stream

__all__ = ["effective_remembrance", "perplexity_by_position", "states_over_time"]

#: Student's t at 0.975 for 1 to 30 degrees of freedom.
_T = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
]  # fmt: skip


def perplexity_by_position(
    model: torch.nn.Module,
    tokens: Tensor,
    *,
    train_length: int,
    length: int,
    sequences: int,
    segment: int = 256,
    per_octave: int = 1,
    initial_state: Optional[States] = None,
) -> dict[str, Any]:
    """How well each token is predicted by how many were read before it: `positions`, the right edges of the buckets;
    `loss`, their mean nats per token; `interval`, the ends of the 95 % interval over sequences. Every sequence begins
    at zero, or at the states of one, `initial_state`."""
    starts = _starts(len(tokens), length + 1, sequences)
    edges = _edges(train_length, length, per_octave)
    bucket = torch.bucketize(torch.arange(1, length + 1), torch.tensor(edges))
    sums = torch.zeros(len(starts), len(edges), dtype=torch.float64)
    states = initial_state and [
        LayerState(*(None if x is None else x.expand(len(starts), *x.shape[1:]) for x in layer))
        for layer in initial_state
    ]
    for at in range(0, length, segment):
        size = min(segment, length - at)
        read = _rows(tokens, starts, at, size + 1)
        output, states = stream(model, states, input_ids=read[:, :-1])
        loss = torch.nn.functional.cross_entropy(
            output.logits.flatten(0, 1).float(), read[:, 1:].flatten(), reduction="none"
        )
        sums.index_add_(1, bucket[at : at + size], loss.double().view(len(starts), size))
    losses = sums / bucket.bincount(minlength=len(edges))
    return {"positions": edges, **_means("loss", losses), "sequences": len(starts), "starts": starts}


def states_over_time(
    model: torch.nn.Module,
    tokens: Tensor,
    *,
    train_length: int,
    length: int,
    sequences: int,
    times: int = 25,
    segment: int = 256,
) -> dict[str, Any]:
    """The states after about so many times, evenly spaced in their logarithm, the training length among them: `std`,
    the deviation over all elements of all layers; and for each of `layers` `std[time]` and, `[time][head]`,
    `head_mean`, `head_std`, `head_max` (greatest magnitude) and `head_norm` (averaged over sequences)."""
    starts = _starts(len(tokens), length, sequences)
    places = sorted({*_log_spaced(1, length, times), *([train_length] if train_length <= length else [])})
    found: dict[str, Any] = {"times": places, "std": [], "layers": [_layer() for _ in ports(model)]}
    states: Optional[States] = None
    at = 0
    for place in places:
        while at < place:
            size = min(segment, place - at)
            _, states = stream(model, states, input_ids=_rows(tokens, starts, at, size), logits_to_keep=1)
            at += size
        every = [layer.recurrence.double() for layer in states]
        found["std"].append(torch.cat([state.flatten() for state in every]).std(correction=0).item())
        for layer, state in zip(found["layers"], every):
            heads = state.transpose(0, 1).flatten(1)
            layer["std"].append(state.std(correction=0).item())
            layer["head_mean"].append(heads.mean(1).tolist())
            layer["head_std"].append(heads.std(1, correction=0).tolist())
            layer["head_max"].append(heads.abs().amax(1).tolist())
            layer["head_norm"].append(state.flatten(2).norm(dim=2).mean(0).tolist())
    return {**found, "sequences": len(starts), "starts": starts}


def effective_remembrance(
    model: torch.nn.Module,
    tokens: Tensor,
    *,
    length: int,
    sequences: int,
    cuts: int = 25,
    spacing: str = "ends",
    segment: int = 256,
) -> dict[str, Any]:
    """What the prediction after `length` tokens owes to those before t: for every t of `cuts` the total variation
    between it and the prediction of a model that begins at t from zero, `distance`, averaged over sequences, with
    `interval`. One sweep serves all cuts: rows that begin at a cut join those that run."""
    starts = _starts(len(tokens), length, sequences)
    places = _cuts(length, cuts, spacing)
    states: Optional[States] = None
    at = 0
    for end in [*places, length]:
        while at < end:
            rows = len(starts) if states is None else states[0].recurrence.shape[0]
            size = min(segment, end - at)
            read = _rows(tokens, starts, at, size).repeat(rows // len(starts), 1)
            output, states = stream(model, states, input_ids=read, logits_to_keep=1)
            at += size
        if end < length:
            states = [
                LayerState(*(torch.cat([x, x.new_zeros(len(starts), *x.shape[1:])]) for x in layer)) for layer in states
            ]
    predicted = output.logits[:, -1].double().softmax(-1).view(len(places) + 1, len(starts), -1)
    distances = 0.5 * (predicted[1:] - predicted[0]).abs().sum(-1)
    return {"cuts": places, **_means("distance", distances.T), "sequences": len(starts), "starts": starts}


def _layer() -> dict[str, list[Any]]:
    return {name: [] for name in ("std", "head_mean", "head_std", "head_max", "head_norm")}


def _rows(tokens: Tensor, starts: list[int], at: int, size: int) -> Tensor:
    return torch.stack([tokens[start + at : start + at + size] for start in starts])


def _starts(total: int, length: int, sequences: int) -> list[int]:
    """Where sequences begin: evenly spread, none overlapping another, so fewer where the text is short."""
    count = min(sequences, total // length) if length > 0 else 0
    if count < 1:
        raise ValueError(
            f"{sequences} sequences of {length} tokens in a text of {total} given, expected at least one to fit"
        )
    return [i * (total - length) // max(count - 1, 1) for i in range(count)]


def _edges(train_length: int, length: int, per_octave: int) -> list[int]:
    if train_length < 1 or per_octave < 1:
        raise ValueError(f"train_length {train_length} and per_octave {per_octave} given, expected at least 1 of each")
    below = max(0, math.floor(math.log2(train_length / 8))) * per_octave if train_length >= 8 else 0
    edges: list[int] = []
    while (edge := math.floor(train_length * 2 ** ((len(edges) - below) / per_octave) + 0.5)) < length:
        edges.append(edge)
    return sorted({*edges, length})


def _log_spaced(first: int, last: int, count: int) -> list[int]:
    steps = max(min(count, last), 2) - 1
    ratio = math.log(last / first) / steps
    return sorted({math.floor(first * math.exp(i * ratio) + 0.5) for i in range(steps + 1)})


def _cuts(length: int, cuts: int, spacing: str) -> list[int]:
    if not 1 <= cuts < length:
        raise ValueError(f"{cuts} cuts of {length} tokens given, expected at least 1 and more tokens")
    if spacing == "log":
        places = _log_spaced(1, length - 1, cuts)
    elif spacing == "linear":
        places = [i * length // (cuts + 1) for i in range(1, cuts + 1)]
    elif spacing == "ends":
        half = _log_spaced(1, length // 2, -(-cuts // 2))
        places = half + [length - t for t in half]
    else:
        raise ValueError(f"spacing {spacing!r} given, expected linear, log or ends")
    return sorted({t for t in places if 0 < t < length})


def _means(name: str, samples: Tensor) -> dict[str, Any]:
    """Over sequences, [S, n]: the means, and the ends of their 95 % intervals by Student's t."""
    mean, freedom = samples.mean(0), samples.shape[0] - 1
    if freedom == 0:
        return {name: mean.tolist(), "interval": None}
    z = 1.959964
    far = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    half = (_T[freedom - 1] if freedom <= len(_T) else far) * samples.std(0) / math.sqrt(freedom + 1)
    return {name: mean.tolist(), "interval": torch.stack([mean - half, mean + half], 1).tolist()}
