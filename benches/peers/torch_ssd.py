"""PyTorch's SSD (Mamba-2) on one shape; torch_peer.py says how.

The problem is the one every peer of this folder solves: with delta = softplus(dt), a < 0 per head and
S [P, N] per head,
    S_t = exp(a * delta_t) * S_{t-1} + delta_t * outer(x_t, b_t)        y_t = S_t c_t
for x [B, T, H, P], dt [B, T, H], b and c [B, T, G, N]; y and the last S are both outputs.

- `chunked` takes b and c once per group, so that c b^T is formed once for all its heads. Chunks of 64.
- `step` is the recurrence, for one token.
- `fla` is flash-linear-attention's chunked form in plain PyTorch (`naive_chunk_simple_gla`), which has no groups: b and c are
  repeated to every head, outside the clock.
"""

import torch

from torch_peer import Problem, main

CHUNK = 64


def chunked(x, dt, a, b, c, first):
    """y and last state; the state enters and leaves as [B, H, P, N].

    Letters in the einsums: b batch, k chunk, t and s place in the chunk, g group, r head in the group.
    """
    batch, time_steps, heads, p = x.shape
    groups, n = b.shape[2:]
    length = min(CHUNK, time_steps)
    split = (batch, time_steps // length, length, groups)
    delta = torch.nn.functional.softplus(dt)
    u = (x * delta.unsqueeze(-1)).view(*split, heads // groups, p)
    b, c = b.view(*split, n), c.view(*split, n)
    gate = (delta * a).view(*split, heads // groups).permute(0, 1, 3, 4, 2)
    total = gate.cumsum(-1)

    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    within = (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(future, -torch.inf).exp()
    scores = torch.einsum("bktgn,bksgn->bkgts", c, b).unsqueeze(3) * within
    y = torch.einsum("bkgrts,bksgrp->bktgrp", scores, u)

    to_end = (total[..., -1:] - total).exp().permute(0, 1, 4, 2, 3).unsqueeze(-1)
    added = torch.einsum("bksgrp,bksgn->bkgrpn", u * to_end, b)
    across = total[..., -1].exp().unsqueeze(-1).unsqueeze(-1)
    state = first.view(batch, groups, heads // groups, p, n)
    entering = []
    for k in range(split[1]):
        entering.append(state)
        state = across[:, k] * state + added[:, k]
    carried = torch.einsum("bktgn,bkgrpn->bktgrp", c, torch.stack(entering, 1))
    y = y + carried * total.exp().permute(0, 1, 4, 2, 3).unsqueeze(-1)
    return y.reshape(batch, time_steps, heads, p), state.reshape(batch, heads, p, n)


def recurrence(x, dt, a, b, c, first):
    """The definition, one token at a time."""
    b, c = (per_head(tensor, x.shape[2]) for tensor in (b, c))
    delta = torch.nn.functional.softplus(dt)
    state, outputs = first, []
    for t in range(x.shape[1]):
        decay = (a * delta[:, t]).exp()[..., None, None]
        inflow = (delta[:, t].unsqueeze(-1) * x[:, t]).unsqueeze(-1) * b[:, t].unsqueeze(-2)
        state = decay * state + inflow
        outputs.append((state * c[:, t].unsqueeze(-2)).sum(-1))
    return torch.stack(outputs, 1), state


def fla(x, dt, a, b, c, first):
    from fla.ops.simple_gla.naive import naive_chunk_simple_gla

    delta = torch.nn.functional.softplus(dt)
    v, g = x * delta.unsqueeze(-1), delta * a
    y, state = naive_chunk_simple_gla(
        c, b, v, g, scale=1.0, initial_state=first.transpose(-1, -2), output_final_state=True, chunk_size=CHUNK
    )
    return y, state.transpose(-1, -2)


def data(shape, zero_state):
    """x, dt, a, b, c and the first state: Mamba-2's own ranges, the same values in every run."""
    batch, time_steps, heads, p, n, groups = shape
    generator = torch.Generator().manual_seed(20240531)
    normal = lambda *size: torch.randn(*size, generator=generator)
    uniform = lambda *size: torch.rand(*size, generator=generator)
    delta = 0.001 * 100.0 ** uniform(batch, time_steps, heads)
    first = torch.zeros(batch, heads, p, n) if zero_state else normal(batch, heads, p, n)
    return (
        normal(batch, time_steps, heads, p),
        delta.expm1().log(),
        -1.0 - 15.0 * uniform(heads),
        normal(batch, time_steps, groups, n),
        normal(batch, time_steps, groups, n),
        first,
    )


def per_head(tensor, heads):
    return tensor.repeat_interleave(heads // tensor.shape[2], dim=2)


def repeated(inputs):
    x, dt, a, b, c, first = inputs
    return x, dt, a, *(per_head(tensor, x.shape[2]).contiguous() for tensor in (b, c)), first


def heads(inputs, pick):
    x, dt, a, b, c, first = repeated(inputs)
    return x[:, :, pick], dt[:, :, pick], a[pick], b[:, :, pick], c[:, :, pick], first[:, pick]


same = lambda inputs: inputs
main(
    Problem(
        letters="B,T,H,P,N,G",
        small=(2, 192, 6, 8, 16, 2),
        data=data,
        recurrence=recurrence,
        heads=heads,
        forms={
            "chunked": (same, chunked),
            "step": (same, recurrence),
            "fla": (repeated, fla),
        },
    )
)
