"""The functions of flash-linear-attention by their signatures, on the CPU: `chunk_*` and `fused_recurrent_*` of every
member that both have, with its layouts, scales and defaults (version 0.6), differentiable in everything that is a
tensor, initial and final states included.

    from baton.fla import chunk_gla, fused_recurrent_kda

`_TABLE` has a row for each function, its signature and its member (`members`): a recurrence, and how its tensors come
from the arguments. The rest (scale, normalised keys, grouped heads, reversed time, packed sequences, layouts of states)
is the same for all and stands once, in `_run`. What only tells GPU kernels how to run (`_HINTS`) is read by nobody.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, Callable

import torch
from torch import Tensor

from ._baton import Recurrence as Core
from .members import MEMBERS, Arguments, Member
from .torch import Recurrence

_HINTS = (
    "cu_seqlens_cpu",
    "chunk_indices",
    "chunk_size",
    "safe_gate",
    "disable_recompute",
    "use_graph",
    "max_num_seqs",
)
_REFUSED = ("cp_context", "return_intermediate_states")


@lru_cache(maxsize=None)
def _recurrence(name: str) -> Recurrence:
    return Recurrence(Core.from_text(name) if "{" in name else name)


_ENDS = "scale=None, initial_state=None, output_final_state=False"
_NORM = "use_qk_l2norm_in_kernel=False"
_BETA = "use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False"
_PACK = "cu_seqlens=None, cu_seqlens_cpu=None"
_DELTA = (
    f"q, k, v, g, beta, {_ENDS}, {_NORM}, {_BETA}, state_v_first=False, {_PACK}, chunk_indices=None, cp_context=None, "
    "**kwargs"
)
_DELTA_STEPS = (
    f"q, k, v, g=None, gk=None, gv=None, beta=None, {_ENDS}, {_NORM}, use_gate_in_kernel=False, A_log=None, "
    f"dt_bias=None, {_BETA}, state_v_first=False, cu_seqlens=None, **kwargs"
)
_TABLE = [
    ("chunk_gla", "gla", f"q, k, v, g, {_ENDS}, state_v_first=False, {_PACK}"),
    (
        "fused_recurrent_gla",
        "gla",
        f"q, k, v, gk=None, gv=None, {_ENDS}, reverse=False, state_v_first=False, cu_seqlens=None, **kwargs",
    ),
    (
        "chunk_simple_gla",
        "simple_gla",
        f"q, k, v, g=None, g_gamma=None, {_ENDS}, state_v_first=False, {_PACK}, **kwargs",
    ),
    (
        "fused_recurrent_simple_gla",
        "simple_gla",
        f"q, k, v, g=None, g_gamma=None, {_ENDS}, reverse=False, state_v_first=False, cu_seqlens=None, **kwargs",
    ),
    ("chunk_retention", "retention", f"q, k, v, {_ENDS}, cu_seqlens=None, **kwargs"),
    (
        "fused_recurrent_retention",
        "retention",
        f"q, k, v, {_ENDS}, reverse=False, state_v_first=False, cu_seqlens=None, **kwargs",
    ),
    ("chunk_lightning_attn", "retention", f"q, k, v, layer_idx, num_layers, {_ENDS}, cu_seqlens=None, **kwargs"),
    (
        "fused_recurrent_lightning_attn",
        "retention",
        f"q, k, v, layer_idx, num_layers, {_ENDS}, reverse=False, cu_seqlens=None",
    ),
    ("chunk_linear_attn", "linear", f"q, k, v, {_ENDS}, normalize=True, cu_seqlens=None"),
    ("fused_recurrent_linear_attn", "linear", f"q, k, v, {_ENDS}, reverse=False, normalize=False, cu_seqlens=None"),
    ("chunk_delta_rule", "delta", f"q, k, v, beta, {_ENDS}, {_NORM}, {_PACK}, **kwargs"),
    ("fused_recurrent_delta_rule", "delta", f"q, k, v, beta=None, {_ENDS}, {_NORM}, cu_seqlens=None"),
    ("chunk_gated_delta_rule", "delta", _DELTA),
    ("chunk_gdn", "delta", _DELTA),
    ("fused_recurrent_gated_delta_rule", "delta", _DELTA_STEPS),
    ("fused_recurrent_gdn", "delta", _DELTA_STEPS),
    (
        "chunk_gated_delta_product",
        "product",
        f"q, k, v, g, beta, num_householder, {_ENDS}, {_NORM}, {_PACK}, cp_context=None",
    ),
    (
        "chunk_kda",
        "kda",
        f"q, k, v, g, beta, {_ENDS}, {_NORM}, use_gate_in_kernel=False, {_BETA}, safe_gate=False, lower_bound=None, "
        f"disable_recompute=False, return_intermediate_states=False, state_v_first=False, {_PACK}, "
        "cp_context=None, use_graph=False, max_num_seqs=None, **kwargs",
    ),
    (
        "fused_recurrent_kda",
        "kda",
        f"q, k, v, g, beta, A_log=None, dt_bias=None, {_ENDS}, {_NORM}, use_gate_in_kernel=False, {_BETA}, "
        "lower_bound=None, state_v_first=False, cu_seqlens=None, **kwargs",
    ),
    ("chunk_comba", "comba", f"q, k, v, p, g, beta=None, {_ENDS}, {_NORM}, {_PACK}"),
    ("fused_recurrent_comba", "comba", f"q, k, p, v, g, beta=None, {_ENDS}, {_NORM}, cu_seqlens=None"),
    ("chunk_rwkv6", "rwkv6", f"r, k, v, w, u, {_ENDS}, {_PACK}, **kwargs"),
    ("fused_recurrent_rwkv6", "rwkv6", f"r, k, v, w, u, {_ENDS}, reverse=False, cu_seqlens=None"),
    (
        "chunk_rwkv7",
        "rwkv7",
        f"r, w, k, v, a, b, scale=1.0, initial_state=None, output_final_state=False, {_PACK}, safe_gate=False, "
        "chunk_size=None, disable_recompute=False, cp_context=None, lower_bound=None",
    ),
    (
        "fused_recurrent_rwkv7",
        "rwkv7",
        "r, w, k, v, a, b, scale=None, initial_state=None, output_final_state=True, cu_seqlens=None",
    ),
    (
        "chunk_dplr_delta_rule",
        "low_rank",
        f"q, k, v, a, b, gk, {_ENDS}, {_PACK}, safe_gate=False, chunk_size=None, disable_recompute=False, "
        "cp_context=None, lower_bound=None, **kwargs",
    ),
    ("fused_recurrent_dplr_delta_rule", "low_rank", f"q, k, v, a, b, gk, {_ENDS}, reverse=False, cu_seqlens=None"),
    ("chunk_iplr_delta_rule", "low_rank", f"q, k, v, a, b, {_ENDS}, {_PACK}, **kwargs"),
    ("fused_recurrent_iplr_delta_rule", "low_rank", f"q, k, v, a, b, {_ENDS}, cu_seqlens=None"),
    ("chunk_hgrn", "hgrn", "x, g, initial_state=None, output_final_state=False"),
    ("fused_recurrent_hgrn", "hgrn", "x, g, initial_state=None, output_final_state=False, cu_seqlens=None"),
]

__all__ = [name for name, _, _ in _TABLE]


def _unit(tensor: Tensor) -> Tensor:
    """Of length one, computed in float32 at least: squares of float16 outgrow it."""
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + 1e-6)).to(tensor.dtype)


def _run(name: str, member: Member, a: Arguments) -> tuple[Tensor, Any]:
    rest = {**a.pop("kwargs", {})}
    if "transpose_state_layout" in rest:
        rest["state_v_first"] = rest.pop("transpose_state_layout")
    unknown = [
        key
        for key in rest
        if key not in {*_HINTS, *_REFUSED, "A_log", "dt_bias", "use_gate_in_kernel", "lower_bound", "state_v_first"}
    ]
    if unknown:
        raise TypeError(f"{name}() got an unexpected keyword argument '{unknown[0]}'")
    a = {**a, **rest}
    for key in _REFUSED:
        if a.get(key):
            raise ValueError(f"{key} given for {name}, which is not to be had on the CPU")
    if a.get("use_qk_l2norm_in_kernel"):
        for key in member.normalised:
            a[key] = _unit(a[key])
    if member.query and "q" in a and (many := a["v"].shape[2]) != a["q"].shape[2]:
        for key in {"q", "k", "p"} & a.keys():  # a key for several value heads
            a[key] = a[key].repeat_interleave(many // a[key].shape[2], 2)
    text, tensors = member.tensors(a)
    if member.query:
        query = tensors[member.query]
        own = query.shape[-1] ** -0.5
        factor = (own if a["scale"] is None else a["scale"]) / (own if member.scaled else 1.0)
        if factor != 1.0:
            tensors[member.query] = query * factor
    cu_seqlens, backwards = a.get("cu_seqlens"), a.get("reverse", False)
    recurrence = _recurrence(text)
    params = {port.name for port in recurrence.params}
    turn = (lambda x: x.flip(1)) if backwards else lambda x: x
    first = (lambda x: x.flip(0)) if backwards and cu_seqlens is not None else lambda x: x
    if backwards and cu_seqlens is not None:
        cu_seqlens = cu_seqlens[-1] - cu_seqlens.flip(0)
    names = [port.name for port in recurrence.states]
    given = a["initial_state"]
    initial = dict(zip(names, given if isinstance(given, tuple) else [given]))
    swap = (lambda x: x.transpose(-1, -2)) if a.get("state_v_first") else lambda x: x
    if initial.get("z") is not None:
        initial["z"] = initial["z"].squeeze(1)
    outputs, final = recurrence(
        **{key: tensor if key in params else turn(tensor) for key, tensor in tensors.items()},
        initial_state={key: first(swap(state)) for key, state in initial.items() if state is not None},
        output_final_state=True,
        cu_seqlens=cu_seqlens,
    )
    out = turn(outputs["o"])
    state = first(swap(final["S"])) if a["output_final_state"] else None
    return out, (state, first(final["z"])[:, None]) if "z" in final else state


def _function(name: str, member: str, signature: str) -> Callable[..., Any]:
    bound = inspect.signature(eval(f"lambda {signature}: None"))  # a text of the table

    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            given = bound.bind(*args, **kwargs)
        except TypeError as why:
            raise TypeError(f"{name}() {why}") from None
        given.apply_defaults()
        return _run(name, MEMBERS[member], dict(given.arguments))

    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    function.__signature__ = bound  # type: ignore[attr-defined]
    function.__doc__ = f"`{name}` of flash-linear-attention: gives the outputs and the final state."
    return function


for _name, _member, _signature in _TABLE:
    globals()[_name] = _function(_name, _member, _signature)
