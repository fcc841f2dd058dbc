"""The members of flash-linear-attention as recurrences: what its arguments are to each.

A member is a recurrence, a built-in one or a text, and how its tensors come from the arguments of a function; where an
optional gate decides which recurrence it is, that is decided here. What all members have in common is in `fla`.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

Arguments = dict[str, Any]


class Member(NamedTuple):
    """Takes arguments to a recurrence and its tensors."""

    #: The recurrence and its tensors by name, from all arguments.
    tensors: Callable[[Arguments], tuple[str, dict[str, Tensor]]]
    #: Its query, which is scaled; absent: nothing is.
    query: Optional[str] = "q"
    #: Whether the recurrence scales the query by 1 / sqrt(K) itself.
    scaled: bool = True
    #: What `use_qk_l2norm_in_kernel` normalises.
    normalised: tuple[str, ...] = ("q", "k")


def _wide(tensor: Tensor) -> torch.dtype:
    """What a decay is kept in beside a tensor."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _plain(name: str, *renamed: str, **others: str) -> Callable[[Arguments], tuple[str, dict[str, Tensor]]]:
    """A recurrence whose tensors are arguments, of the same name but for `others`."""
    return lambda a: (name, {**{key: a[key] for key in renamed}, **{ours: a[key] for ours, key in others.items()}})


def _decayed(update: str) -> str:
    return f"""recurrence decayed {{
    dims   {{ K, V }}
    inputs {{ q: [K], k: [K], v: [V], beta: [], gk: [K], gv: [V] }}
    state  {{ S: [K, V] }}
    S = rows(exp(gk)) * S;
    S = cols(exp(gv)) * S;
    S = S + outer(k, {update});
    output o: [V] = dot(rsqrt(K) * q, S);
}}"""


def _gates(a: Arguments) -> tuple[Optional[Tensor], Optional[Tensor], Optional[Tensor]]:
    """The log decays of a head, of its keys and of its values."""
    gamma = a.get("g_gamma")
    g, gk, gv = a.get("g"), a.get("gk"), a.get("gv")
    if gamma is not None:
        gamma = gamma.to(_wide(a["q"]))
        g = gamma.expand(a["q"].shape[:3]) if g is None else g + gamma
    return g, gk, gv


def _attention(a: Arguments, update: Optional[Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Linear attention, with the delta rule where `update` (its rate) is given, under any of the three gates."""
    g, gk, gv = _gates(a)
    tensors = {name: a[name] for name in ("q", "k", "v")}
    if update is not None:
        tensors["beta"] = update
    if gv is not None:
        keys = gk if g is None else g[..., None] if gk is None else gk + g[..., None]
        shape = (*gv.shape[:3], a["k"].shape[-1])
        keys = gv.new_zeros(()).expand(shape) if keys is None else keys.expand(shape)
        tensors.update(gk=keys, gv=gv, beta=gv.new_ones(()).expand(gv.shape[:3]) if update is None else update)
        return _decayed("beta * v" if update is None else "beta * (v - dot(k, S))"), tensors
    if gk is not None:
        tensors["g"] = gk if g is None else gk + g[..., None]
        return ("gla" if update is None else "kda"), tensors
    if g is not None:
        tensors["g"] = g
        return ("simple_gla" if update is None else "gated_delta_net"), tensors
    return ("linear_attention" if update is None else "delta_net"), tensors


def _rate(a: Arguments) -> Tensor:
    """beta [B, T, H]: one where it is absent."""
    beta = a.get("beta")
    if beta is None:
        return a["v"].new_ones(()).expand(a["v"].shape[:3])
    if beta.dim() != 3:
        raise ValueError(f"tensor `beta` has shape {list(beta.shape)}, expected [B, T, H]: one rate for each head")
    if a.get("use_beta_sigmoid_in_kernel"):
        beta = beta.sigmoid() * (2 if a.get("allow_neg_eigval") else 1)
    elif a.get("allow_neg_eigval"):
        raise ValueError("allow_neg_eigval given without use_beta_sigmoid_in_kernel, which it scales")
    return beta


def _gate(a: Arguments) -> Arguments:
    """The arguments with the log decay that `use_gate_in_kernel` asks for, of g [B, T, H] or [B, T, H, K]."""
    if not a.get("use_gate_in_kernel"):
        return a
    g = a["g"].to(_wide(a["g"]))
    rate, bias, bound = a.get("A_log"), a.get("dt_bias"), a.get("lower_bound")
    if rate is None and bound is None:
        raise TypeError("`A_log` is missing: use_gate_in_kernel computes the decay from it")
    wide = [1] * (g.dim() - 3)
    if bias is not None:
        g = g + bias.view(g.shape[2:])
    rate = None if rate is None else rate.to(g.dtype).exp().view(-1, *wide)
    if bound is not None:
        return {**a, "g": bound * torch.sigmoid(g if rate is None else rate * g)}
    return {**a, "g": -rate * F.softplus(g)}


def _gla(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    return _attention({**a, "gk": a.get("gk", a.get("g")), "g": None}, None)


def _delta(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    a = _gate(a)
    return _attention(a, _rate(a))


def _kda(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    a = _gate(a)
    return _attention({**a, "gk": a["g"], "g": None}, _rate(a))


def _retention(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    heads = torch.arange(a["q"].shape[2], dtype=torch.float32, device=a["q"].device)
    if "layer_idx" in a:  # Lightning Attention's decays
        decay = -8 / len(heads) * (1 - a["layer_idx"] / a["num_layers"]) * heads
    else:
        decay = (1 - torch.exp2(-5 - heads)).log()
    return "retnet", {"q": a["q"], "k": a["k"], "v": a["v"], "log_decay": decay.to(_wide(a["q"]))}


def _linear(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    return (_NORMALISED if a["normalize"] else "linear_attention"), {"q": a["q"], "k": a["k"], "v": a["v"]}


def _product(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    """Gated DeltaProduct: the factors of a step stand one after another along the time axis."""
    count = a["num_householder"]
    names = range(count)
    tensors = {"q": a["q"]}
    for name in ("k", "v", "beta"):
        tensors.update((f"{name}{i}", a[name][:, i::count]) for i in names)
    tensors["g"] = a["q"].new_zeros(()).expand(a["q"].shape[:3]) if a["g"] is None else a["g"]
    if count == 2:
        return "gated_delta_product", tensors
    inputs = ", ".join(f"k{i}: [K], v{i}: [V], beta{i}: []" for i in names)
    updates = "\n".join(f"    S = S + outer(k{i}, beta{i} * (v{i} - dot(k{i}, S)));" for i in names)
    text = f"""recurrence product {{
    dims   {{ K, V }}
    inputs {{ q: [K], {inputs}, g: [] }}
    state  {{ S: [K, V] }}
    S = exp(g) * S;
{updates}
    output o: [V] = dot(rsqrt(K) * q, S);
}}"""
    return text, tensors


def _comba(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    return "comba", {**{name: a[name] for name in ("q", "k", "p", "v", "g")}, "beta": _rate(a)}


def _low_rank(a: Arguments) -> tuple[str, dict[str, Tensor]]:
    """A diagonal, or the identity, plus rank one."""
    w = a["gk"] if "gk" in a else a["k"].new_zeros(()).expand(a["k"].shape)
    return "rwkv7", {"r": a["q"], "w": w, **{name: a[name] for name in ("k", "v", "a", "b")}}


_NORMALISED = """recurrence normalised {
    dims   { K, V }
    inputs { q: [K], k: [K], v: [V] }
    state  { S: [K, V], z: [K] }
    S = S + outer(k, v);
    z = z + k;
    let query = rsqrt(K) * q;
    output o: [V] = dot(query, S) / (dot(query, z) + 1e-10);
}"""
_HGRN = """recurrence hgrn {
    inputs { x: [], g: [] }
    state  { S: [] }
    S = exp(g) * S + x;
    output o: [] = S;
}"""

MEMBERS = {
    "gla": Member(_gla),
    "simple_gla": Member(lambda a: _attention(a, None)),
    "retention": Member(_retention),
    "linear": Member(_linear),
    "delta": Member(_delta),
    "kda": Member(_kda),
    "product": Member(_product),
    "comba": Member(_comba, normalised=("q", "k", "p")),
    "rwkv6": Member(_plain("rwkv6", "r", "k", "v", "w", "u"), query="r"),
    "rwkv7": Member(_plain("rwkv7", "r", "w", "k", "v", "a", "b"), query="r", scaled=False),
    "low_rank": Member(_low_rank, query="r", scaled=False),
    "hgrn": Member(_plain(_HGRN, "x", "g"), query=None),
}
