"""What the mixers of transformers' Mamba models compute, with their recurrence on Baton.

Each function stands in for the forward of one mixer and reads its weights where they lie. Around the recurrence it
does as the original does, padding masks and caches included; an initial state is the cache's where it has one, else the
port's. A cache of several tokens at once is continued from its state, which some originals begin anew.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import _baton
from ..torch import Recurrence
from .ports import LayerState, Port

_MAMBA1 = Recurrence("mamba1")
_MAMBA2 = Recurrence("mamba2")
#: With the state as a cache of transformers holds it: of a few steps, turning it there and back takes most of the time.
_MAMBA2_CACHED = Recurrence(
    _baton.Recurrence.from_text(
        """recurrence mamba2_cached {
            dims   { N, P }
            inputs { x: [P], b: [N] per group, c: [N] per group, dt: [] }
            params { a_log: [], d: [], dt_bias: [] }
            state  { S: [P, N] }

            let delta = softplus(dt + dt_bias);
            S = exp(-exp(a_log) * delta) * S + outer(delta * x, b);
            output y: [P] = dot(S, c) + d * x;
        }"""
    )
)
#: Steps at a time up to which that is so.
_FEW = 16


def _masked(hidden: Tensor, mask: Optional[Tensor]) -> Tensor:
    return hidden if mask is None else (hidden * mask[:, :, None]).to(hidden.dtype)


class _Passage:
    """One forward of a mixer: where its states come from and go to."""

    def __init__(
        self,
        mixer: nn.Module,
        cache: Optional[Any],
        ignored: dict[str, Any],
        turned: Callable[[Tensor], Tensor] = lambda state: state,
    ) -> None:
        for name in ("seq_idx", "cu_seq_lens_q"):
            if ignored.get(name) is not None:
                raise ValueError(f"`{name}` given: an accelerated `{type(mixer).__name__}` takes no packed sequences")
        #: `turned` takes a state from the cache's layout to the recurrence's, and back.
        self.mixer, self.cache, self.turned = mixer, cache, turned
        self.port: Port = mixer.baton_port
        self.state = self.port.entering(mixer.training)
        if cache is not None:
            conv = cache.get_conv_state(mixer.layer_idx)
            if conv is not None:
                self.state = LayerState(turned(cache.get_recurrent_state(mixer.layer_idx)), conv)

    def convolved(self, steps: Tensor) -> Tensor:
        """The causal convolution with its activation, over steps [B, T, C]."""
        mixer, conv = self.mixer, self.mixer.conv1d
        width = mixer.conv_kernel_size
        columns = steps.transpose(1, 2)
        before = None if self.state is None or self.state.conv is None else self.state.conv.to(columns.dtype)
        whole = columns if before is None else torch.cat([before, columns], -1)
        if self.cache is not None:
            known = self.cache.get_conv_state(mixer.layer_idx) is not None
            self.cache.update_conv_state(columns if known else whole, mixer.layer_idx, conv_kernel_size=width)
        if self.port.keeps:
            self.remembered = F.pad(whole, (max(0, width - whole.shape[-1]), 0))[..., -width:]
        if before is None:
            mixed = F.conv1d(columns, conv.weight, conv.bias, padding=width - 1, groups=conv.groups)
            mixed = mixed[..., : steps.shape[1]]
        else:
            mixed = F.conv1d(whole, conv.weight, conv.bias, groups=conv.groups)[..., -steps.shape[1] :]
        # Contiguous along the channels, as the recurrence reads them without a copy.
        return mixer.act(mixed.transpose(1, 2).contiguous())

    def entering(self, name: str) -> Optional[dict[str, Tensor]]:
        return None if self.state is None else {name: self.state.recurrence}

    def leave(self, recurrence: Tensor) -> None:
        """Hands on the final state."""
        if self.cache is not None:
            self.cache.update_recurrent_state(self.turned(recurrence), layer_idx=self.mixer.layer_idx)
        if self.port.keeps:
            self.port.leave(recurrence, self.remembered)

    @property
    def hands_on(self) -> bool:
        return self.cache is not None or self.port.keeps


def _continues(mixer: nn.Module, cache: Optional[Any]) -> bool:
    """Whether the states are the cache's and nobody else's, before and after."""
    return cache is not None and cache.get_conv_state(mixer.layer_idx) is not None and not mixer.baton_port.keeps


def mamba2(
    self: nn.Module,
    hidden_states: Tensor,
    cache_params: Optional[Any] = None,
    attention_mask: Optional[Tensor] = None,
    **kwargs: Any,
) -> Tensor:
    few = hidden_states.shape[1] <= _FEW and _continues(self, cache_params)
    recurrence = _MAMBA2_CACHED if few else _MAMBA2
    passage = _Passage(self, cache_params, kwargs, *([] if few else [lambda state: state.transpose(-1, -2)]))
    projected = self.in_proj(_masked(hidden_states, attention_mask))
    gate, steps, dt = projected.split([self.intermediate_size, self.conv_dim, self.num_heads], dim=-1)
    steps = _masked(passage.convolved(steps), attention_mask)
    shared = self.n_groups * self.ssm_state_size
    x, b, c = steps.split([self.intermediate_size, shared, shared], dim=-1)
    outputs, final = recurrence(
        x=x.unflatten(-1, (self.num_heads, self.head_dim)),
        b=b.unflatten(-1, (self.n_groups, self.ssm_state_size)),
        c=c.unflatten(-1, (self.n_groups, self.ssm_state_size)),
        dt=dt,
        a_log=self.A_log,
        d=self.D,
        dt_bias=self.dt_bias,
        initial_state=passage.entering("S"),
        output_final_state=passage.hands_on,
    )
    if final is not None:
        passage.leave(final["S"])
    mixed = self.norm(outputs["y"].flatten(2), gate)
    return self.out_proj(mixed.to(hidden_states.dtype))


def mamba1(
    self: nn.Module,
    hidden_states: Tensor,
    cache_params: Optional[Any] = None,
    attention_mask: Optional[Tensor] = None,
    **kwargs: Any,
) -> Tensor:
    passage = _Passage(self, cache_params, kwargs)
    projected = self.in_proj(_masked(hidden_states, attention_mask))
    u, gate = projected.chunk(2, dim=-1)
    u = _masked(passage.convolved(u), attention_mask)
    ranks = [self.time_step_rank, self.ssm_state_size, self.ssm_state_size]
    dt, b, c = self.x_proj(u).split(ranks, dim=-1)
    if hasattr(self, "dt_layernorm"):  # of Falcon-Mamba
        dt, b, c = self.dt_layernorm(dt), self.b_layernorm(b), self.c_layernorm(c)
    outputs, final = _MAMBA1(
        u=u,
        dt=F.linear(dt, self.dt_proj.weight),
        b=b.unsqueeze(2),
        c=c.unsqueeze(2),
        a_log=self.A_log,
        d=self.D,
        dt_bias=self.dt_proj.bias,
        initial_state=passage.entering("h"),
        output_final_state=passage.hands_on,
    )
    if final is not None:
        passage.leave(final["h"])
    return self.out_proj((outputs["y"] * self.act(gate)).to(hidden_states.dtype))


def _mamba1_port(mixer: nn.Module) -> Port:
    width = mixer.intermediate_size
    return Port((width, mixer.ssm_state_size), (width, mixer.conv_kernel_size))


def _mamba2_port(mixer: nn.Module) -> Port:
    return Port((mixer.num_heads, mixer.ssm_state_size, mixer.head_dim), (mixer.conv_dim, mixer.conv_kernel_size))


#: By the name of the original class: its forward on Baton, and its port.
MIXERS: dict[str, tuple[Callable[..., Tensor], Callable[[nn.Module], Port]]] = {
    "Mamba2Mixer": (mamba2, _mamba2_port),
    "MambaMixer": (mamba1, _mamba1_port),
    "FalconMambaMixer": (mamba1, _mamba1_port),
}
