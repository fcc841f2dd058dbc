"""PyTorch's gated delta rule on one shape; torch_peer.py says how.

The problem, S [K, V] per head, keys of length one, q scaled by K^-1/2:
    S_t = exp(g_t) * S_{t-1}      S_t = S_t + beta_t * outer(k_t, v_t - k_t' S_t)      o_t = q_t' S_t
for q, k [B, T, H, K], v [B, T, H, V], g and beta [B, T, H]; o and the last S are both outputs. With `key` behind the
shape g is [B, T, H, K], a decay for each key: KDA's rule.

- `chunked` is the form that is published for the delta rule: what the reads of a chunk of 64 leave is a triangular
  system, solved for all columns of v and for the keys at once (`solve_triangular`), everything else batched
  products; chunks are walked with the state in hand. It has one decay for a head.
- `step` is the recurrence, for one token.
- `fla` is flash-linear-attention's chunked form in plain PyTorch (`naive_chunk_gated_delta_rule`, `naive_chunk_kda`).
"""

import sys

import torch

from torch_peer import Problem, main

CHUNK = 64
KEYS = sys.argv[1].endswith(",key") if len(sys.argv) > 1 else False


def chunked(q, k, v, g, beta, first):
    """o and the last state."""
    batch, time_steps, heads, width = q.shape
    length = min(CHUNK, time_steps)
    split = lambda x: x.view(batch, time_steps // length, length, heads, -1).transpose(2, 3)
    q, k, v = split(q) * width**-0.5, split(k), split(v)
    beta, total = split(beta), split(g).squeeze(-1).cumsum(-1)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    within = (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(future, -torch.inf).exp()
    entered = total.exp().unsqueeze(-1)
    left = (total[..., -1:] - total).exp().unsqueeze(-1)
    across = total[..., -1].exp().unsqueeze(-1).unsqueeze(-1)

    reads = (beta * (k @ k.transpose(-1, -2)) * within).tril(-1)
    solved = torch.linalg.solve_triangular(
        reads, torch.cat((beta * v, beta * entered * k), -1), upper=False, unitriangular=True
    )
    values, keys = solved.split((v.shape[-1], width), -1)
    scores = (q @ k.transpose(-1, -2)) * within
    asked, kept = q * entered, (k * left).transpose(-1, -2)
    state, outputs = first, []
    for c in range(q.shape[1]):
        written = values[:, c] - keys[:, c] @ state
        outputs.append(asked[:, c] @ state + scores[:, c] @ written)
        state = across[:, c] * state + kept[:, c] @ written
    return torch.stack(outputs, 1).transpose(2, 3).reshape(batch, time_steps, heads, -1), state


def recurrence(q, k, v, g, beta, first):
    """The definition, one token at a time."""
    state, outputs = first, []
    for t in range(q.shape[1]):
        decay = g[:, t].exp().unsqueeze(-1)
        state = (decay if KEYS else decay.unsqueeze(-1)) * state
        error = v[:, t] - (k[:, t].unsqueeze(-1) * state).sum(-2)
        state = state + (beta[:, t].unsqueeze(-1) * k[:, t]).unsqueeze(-1) * error.unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * q.shape[-1] ** -0.5 * state).sum(-2))
    return torch.stack(outputs, 1), state


def data(shape, zero_state):
    """q, k, v, g, beta and the first state: the same values in every run."""
    batch, time_steps, heads, width, columns = shape
    generator = torch.Generator().manual_seed(20240531)
    normal = lambda *size: torch.randn(*size, generator=generator)
    uniform = lambda *size: torch.rand(*size, generator=generator)
    key = torch.nn.functional.normalize(normal(batch, time_steps, heads, width), dim=-1)
    first = (torch.zeros if zero_state else normal)(batch, heads, width, columns)
    return (
        normal(batch, time_steps, heads, width),
        key,
        normal(batch, time_steps, heads, columns),
        -0.1 * uniform(batch, time_steps, heads, *([width] if KEYS else [])),
        uniform(batch, time_steps, heads),
        first,
    )


def fla(q, k, v, g, beta, first):
    if KEYS:
        from fla.ops.kda.naive import naive_chunk_kda as chunk
    else:
        from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule as chunk
    return chunk(q, k, v, g, beta, chunk_size=CHUNK, initial_state=first, output_final_state=True)


def heads(inputs, pick):
    *steps, first = inputs
    return *(tensor[:, :, pick] for tensor in steps), first[:, pick]


if len(sys.argv) > 1:
    sys.argv[1] = sys.argv[1].removesuffix(",head").removesuffix(",key")
same = lambda inputs: inputs
forms = {"chunked": (same, chunked), "step": (same, recurrence), "fla": (same, fla)}
if KEYS:
    del forms["chunked"]
main(
    Problem(
        letters="B,T,H,K,V,head|key",
        small=(2, 192, 3, 16, 24),
        data=data,
        recurrence=recurrence,
        heads=heads,
        forms=forms,
    )
)
