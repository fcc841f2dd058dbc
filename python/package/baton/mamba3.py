"""`mamba3_siso_combined` of mamba_ssm on the built-in recurrence `mamba3`, whose keys and queries are pairs (x, y) and whose
angles are in half turns. What enters and leaves is as mamba_ssm has it: interleaved, in radians, states by value first.
"""

from __future__ import annotations

import math
from typing import Optional, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from .torch import Recurrence

_MAMBA3 = Recurrence("mamba3")
_STATES = ("angle", "ssm", "k", "v")


def _pairs(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The first and the second of every two numbers."""
    return {f"{name}x": tensor[..., 0::2], f"{name}y": tensor[..., 1::2]}


def _joined(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], -1).flatten(-2)


def mamba3_siso_combined(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    ADT: Tensor,
    DT: Tensor,
    Trap: Tensor,
    Q_bias: Tensor,
    K_bias: Tensor,
    Angles: Tensor,
    D: Optional[Tensor] = None,
    Z: Optional[Tensor] = None,
    Input_States: Optional[tuple[Tensor, Tensor, Tensor, Tensor]] = None,
    chunk_size: int = 64,
    return_final_states: bool = False,
    cu_seqlens: Optional[Tensor] = None,
) -> Union[Tensor, tuple[Tensor, ...]]:
    """Mamba-3: Q, K [B, T, G, K]; V, Z [B, T, H, V]; ADT, DT, Trap [B, H, T]; biases [H, K]; Angles [B, T, H, S], at most K / 2;
    D [H]. States: angles [B, H, S], [B, H, V, K], the last key [B, H, K] and value [B, H, V].

    Gives the outputs, then the four final states if asked for. Nothing is rounded to bfloat16, as the original does.
    """
    pairs, turned = Q.shape[-1] // 2, Angles.shape[-1]
    if Q.shape[-1] % 2 or turned > pairs:
        raise ValueError(
            f"tensor `Q` has shape {list(Q.shape)} and `Angles` {list(Angles.shape)}, expected keys of even size with at most "
            "an angle for every two numbers"
        )

    def turns(angles: Tensor) -> Tensor:
        return F.pad(angles, (0, pairs - turned))

    initial = None
    if Input_States is not None:
        if len(Input_States) != 4 or any(state is None for state in Input_States):
            raise ValueError(f"Input_States given without all of the four states {', '.join(_STATES)}")
        angle, ssm, k, v = Input_States
        initial = {
            "theta": turns(angle / math.pi),
            "X": ssm[..., 0::2].transpose(-1, -2),
            "Y": ssm[..., 1::2].transpose(-1, -2),
            "last_x": k[..., 0::2],
            "last_y": k[..., 1::2],
            "last_v": v,
        }
    outputs, final = _MAMBA3(
        **_pairs("q", Q),
        **_pairs("k", K),
        v=V,
        adt=ADT.transpose(1, 2),
        dt=DT.transpose(1, 2),
        trap=Trap.transpose(1, 2),
        angle=turns(Angles),
        **{f"{name}_bias": half for name, half in {**_pairs("q", Q_bias), **_pairs("k", K_bias)}.items()},
        d=Q_bias.new_zeros(()).expand(V.shape[2]) if D is None else D,
        initial_state=initial,
        cu_seqlens=cu_seqlens,
        output_final_state=True,
    )
    out = outputs["o"].to(V.dtype)
    out = out if Z is None else out * F.silu(Z)
    if not return_final_states:
        return out
    return (
        out,
        (final["theta"][..., :turned] * math.pi).remainder(2 * math.pi),
        _joined(final["X"].transpose(-1, -2), final["Y"].transpose(-1, -2)),
        _joined(final["last_x"], final["last_y"]),
        final["last_v"],
    )
