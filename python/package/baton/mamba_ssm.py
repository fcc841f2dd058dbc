"""The functions of mamba_ssm by their signatures, on the CPU, differentiable in everything that is a tensor.

    from baton.mamba_ssm import mamba_chunk_scan_combined, selective_scan_fn, selective_state_update, mamba3_siso_combined

Arguments, layouts and results are those of mamba_ssm 2.3. Beside them `selective_scan_fn` takes `initial_state`
[B, D, N], with its gradient, and the gradient of its last state. `chunk_size` is read by nobody: Baton plans by itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Optional, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from ._baton import Recurrence as Core
from .mamba3 import mamba3_siso_combined
from .packing import packed
from .torch import Recurrence

__all__ = ["mamba3_siso_combined", "mamba_chunk_scan_combined", "selective_scan_fn", "selective_state_update"]

_SSD = """recurrence ssd {
    dims   { N, P }
    inputs { x: [P], b: [N] per group, c: [N] per group, dt: [] }
    params { a: [], d: [P], dt_bias: [] }
    state  { S: [N, P] }
    let delta = STEP;
    S = exp(a * delta) * S + outer(b, delta * x);
    output y: [P] = dot(c, S) + d * x;
}"""
_SCAN = """recurrence selective_scan {
    dims   { N }
    inputs { u: [], b: [N] per group, c: [N] per group, dt: [] }
    params { a: [N], d: [], dt_bias: [] }
    state  { h: [N] }
    let delta = STEP;
    h = exp(a * delta) * h + delta * u * b;
    output y: [] = dot(c, h) + d * u;
}"""


@lru_cache(maxsize=None)
def _recurrence(text: str, softplus: bool) -> Recurrence:
    step = "softplus(dt + dt_bias)" if softplus else "dt + dt_bias"
    return Recurrence(Core.from_text(text.replace("STEP", step)))


def _gated(y: Tensor, z: Optional[Tensor]) -> Tensor:
    return y if z is None else y * F.silu(z)


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Optional[Tensor] = None,
    z: Optional[Tensor] = None,
    dt_bias: Optional[Tensor] = None,
    initial_states: Optional[Tensor] = None,
    seq_idx: Optional[Tensor] = None,
    cu_seqlens: Optional[Tensor] = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    return_varlen_states: bool = False,
) -> Union[Tensor, tuple[Tensor, ...]]:
    """The scan of Mamba-2: x [B, T, H, P], dt [B, T, H], A [H], B and C [B, T, G, N], states [B, H, P, N].

    Where `seq_idx` [B, T] changes, and nowhere else, a sequence begins at zero; initial states of the rows are those of
    the sequences of index 0, and there may be one for every sequence instead. Gives the outputs, then the final states
    of each of the B rows if asked for, then those of the sequences between the offsets `cu_seqlens` (B is 1) if asked
    for, which nothing else reads.
    """
    if return_varlen_states and cu_seqlens is None:
        raise ValueError("return_varlen_states given without `cu_seqlens`, which says where sequences end")
    if return_varlen_states and x.shape[0] != 1:
        raise ValueError(
            f"return_varlen_states given, and tensor `x` has shape {list(x.shape)}, expected one row of packed sequences"
        )
    heads, width = x.shape[2:]
    softplus = dt_softplus
    if tuple(dt_limit) != (0.0, float("inf")):
        dt = dt if dt_bias is None else dt + dt_bias
        dt = (F.softplus(dt) if dt_softplus else dt).clamp(*dt_limit)
        dt_bias, softplus = None, False
    elif not dt_softplus:
        dt = (dt if dt_bias is None else dt + dt_bias).clamp_min(0)
        dt_bias = None
    zero = A.new_zeros(())
    d = (zero if D is None else D if D.dim() == 2 else D[:, None]).expand(heads, width)
    pack = packed(x.shape[0], x.shape[1], seq_idx)
    tensors = {name: pack.steps(tensor) for name, tensor in (("x", x), ("b", B), ("c", C), ("dt", dt))}
    start = None if initial_states is None else initial_states.transpose(-1, -2)
    (outputs, final) = _recurrence(_SSD, softplus)(
        **tensors,
        a=A,
        d=d,
        dt_bias=zero.expand(heads) if dt_bias is None else dt_bias,
        initial_state=pack.initial("S", start),
        cu_seqlens=pack.cu_seqlens,
        output_final_state=True,
    )
    y = _gated(outputs["y"].reshape(x.shape), z)
    states = final["S"].transpose(-1, -2)
    results = [y]
    if return_final_states:
        results.append(pack.last(states))
    if return_varlen_states:
        results.append(pack.between(cu_seqlens, states, x.shape[1]))
    return y if len(results) == 1 else tuple(results)


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor] = None,
    z: Optional[Tensor] = None,
    delta_bias: Optional[Tensor] = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Optional[Tensor] = None,
) -> Union[Tensor, tuple[Tensor, Tensor]]:
    """The scan of Mamba-1: u, delta, z [B, D, T]; A [D, N]; B and C [D, N], [B, N, T] or [B, G, N, T]; D [D]."""
    if A.is_complex():
        raise TypeError(f"tensor `A` holds {A.dtype}, expected real numbers")

    channels, constant = u.shape[1], 2 in (B.dim(), C.dim())

    def steps(name: str, tensor: Tensor) -> Tensor:
        """[B, T, G, N]: with what is constant, G is D for both."""
        if tensor.dim() == 2 and tensor.shape[0] == channels:
            return tensor.expand(u.shape[0], u.shape[2], *tensor.shape)
        if tensor.dim() not in (3, 4):
            raise ValueError(
                f"tensor `{name}` has shape {list(tensor.shape)}, expected [{channels}, N], [B, N, T] or [B, G, N, T]"
            )
        tensor = (tensor if tensor.dim() == 4 else tensor[:, None]).permute(0, 3, 1, 2)
        return tensor.repeat_interleave(channels // tensor.shape[2], 2) if constant else tensor

    y, state = _scan(
        *(tensor.transpose(1, 2) for tensor in (u, delta)),
        A,
        steps("B", B),
        steps("C", C),
        D,
        delta_bias,
        delta_softplus,
        initial_state,
    )
    y = _gated(y.transpose(1, 2), z)
    return (y, state) if return_last_state else y


def _scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],
    dt_bias: Optional[Tensor],
    softplus: bool,
    state: Optional[Tensor],
) -> tuple[Tensor, Tensor]:
    zero = A.new_zeros(()).expand(A.shape[0])
    outputs, final = _recurrence(_SCAN, softplus)(
        u=u,
        dt=dt,
        b=B,
        c=C,
        a=A,
        d=zero if D is None else D,
        dt_bias=zero if dt_bias is None else dt_bias,
        initial_state=None if state is None else {"h": state},
        output_final_state=True,
    )
    return outputs["y"], final["h"]


@torch.no_grad()
def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor] = None,
    z: Optional[Tensor] = None,
    dt_bias: Optional[Tensor] = None,
    dt_softplus: bool = False,
    state_batch_indices: Optional[Tensor] = None,
) -> Tensor:
    """One step: `state` [B, D, N] or [B, H, P, N] is written, the output [B, D] or [B, H, P] is given. A, D and dt_bias
    are as `state` and `x` without the batch; B and C are [B, N] or [B, G, N]."""
    rows = state if state_batch_indices is None else state[state_batch_indices]

    def channels(tensor: Optional[Tensor], last: int) -> Optional[Tensor]:
        """[.., H, P, rest] as [.., H * P, rest]."""
        return tensor if tensor is None or state.dim() == 3 else tensor.flatten(-2 - last, -1 - last)

    def groups(tensor: Tensor) -> Tensor:
        return (tensor if tensor.dim() == 3 else tensor[:, None])[:, None]

    y, after = _scan(
        channels(x, 0)[:, None],
        channels(dt, 0)[:, None],
        channels(A, 1),
        groups(B),
        groups(C),
        channels(D, 0),
        channels(dt_bias, 0),
        dt_softplus,
        channels(rows, 1),
    )
    after = after.view(rows.shape).to(state.dtype)
    if state_batch_indices is None:
        state.copy_(after)
    else:
        state[state_batch_indices] = after
    return _gated(y.view(x.shape), z)
