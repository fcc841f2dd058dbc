"""PyTorch's chunked gated delta rule in batched matrix products, timed forward and backward on one shape.

The problem, S [K, V] per head, keys of length one, q scaled by K^-1/2:
    S_t = exp(g_t) * S_{t-1}      S_t = S_t + beta_t * outer(k_t, v_t - k_t' S_t)      o_t = q_t' S_t
for q, k [B, T, H, K], v [B, T, H, V], g and beta [B, T, H]; o and the last S are both outputs.

The chunked form is the one that is published for the delta rule: what the reads of a chunk leave is a
triangular system, solved for all columns of v and for the keys at once (`solve_triangular`), everything else
batched products; chunks are walked with the state in hand.

A time counts only if the result was right, as in torch_ssd.py. Forward runs without a graph; backward alone,
for all inputs with a cotangent for o, over a graph built outside the clock.
"""

import json
import sys

import torch

from torch_peer import TOLERANCE, records, relative, set_threads

SMALL = (2, 192, 3, 16, 24)


def chunked(q, k, v, g, beta, first, length):
    """o and the last state, by chunks of `length`."""
    batch, time_steps, heads, width = q.shape
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
        state = g[:, t].exp()[..., None, None] * state
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
        -0.1 * uniform(batch, time_steps, heads),
        uniform(batch, time_steps, heads),
        first,
    )


def small_error(length):
    """Outputs and gradients on the small shape against float64 autograd through the recurrence."""
    inputs = data(SMALL, zero_state=False)
    cotangent = torch.randn(inputs[2].shape, generator=torch.Generator().manual_seed(7))
    single = [tensor.clone().requires_grad_() for tensor in inputs]
    double = [tensor.double().requires_grad_() for tensor in inputs]
    got, want = chunked(*single, length), recurrence(*double)
    pairs = list(zip(got, want))
    pairs += zip(
        torch.autograd.grad(got[0], single, cotangent), torch.autograd.grad(want[0], double, cotangent.double())
    )
    return max(relative(mine, truth.detach()) for mine, truth in pairs)


def measured_error(inputs, length):
    """First and last head of the measured shape against the float64 recurrence."""
    pick = torch.tensor([0, inputs[0].shape[2] - 1])
    o, last = chunked(*inputs, length)
    *steps, first = inputs
    truth = recurrence(*(tensor[:, :, pick].double() for tensor in steps), first[:, pick].double())
    return max(relative(o[:, :, pick], truth[0]), relative(last[:, pick], truth[1]))


def measure(name, shape, threads, seconds, length):
    inputs = data(shape, zero_state=True)
    with torch.no_grad():
        error = measured_error(inputs, length)
    error = max(error, small_error(length))
    if not error <= TOLERANCE:
        sys.exit(f"torch_delta: relative error {error:.3g}, expected at most {TOLERANCE:.3g}")
    leaves = [tensor.clone().requires_grad_() for tensor in inputs[:5]]
    cotangent = torch.randn(inputs[2].shape, generator=torch.Generator().manual_seed(7))

    def forward(_):
        with torch.no_grad():
            return chunked(*inputs, length)

    def graph():
        return chunked(*leaves, inputs[5], length)[0]

    def backward(o):
        return torch.autograd.grad(o, leaves, cotangent)

    batch, time_steps, heads, width, columns = shape
    shape = f"B{batch} T{time_steps} H{heads} K{width} V{columns} f32"
    phases = {"forward": (lambda: None, forward), "backward": (graph, backward)}
    return records(name, length, shape, threads, seconds, error, phases)


def main():
    try:
        shape = tuple(int(size) for size in sys.argv[1].split(","))
        threads, seconds, length = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
        memory = sys.argv[5]
        _, time_steps, _, _, _ = shape
        valid = min(*shape, threads, length) >= 1 and seconds > 0
    except (IndexError, ValueError):
        sys.exit("torch_delta: expected B,T,H,K,V THREADS SECONDS CHUNK MEMORY, such as 1,2048,16,128,128 1 2 64 kept")
    if not valid or time_steps % length or SMALL[1] % length:
        sys.exit(
            f"torch_delta: shape {sys.argv[1]}, chunk {length}: every size must be at least 1, and CHUNK a divisor"
            f" of T and of {SMALL[1]}"
        )
    set_threads(threads)
    print(json.dumps(list(measure(f"torch, {memory}", shape, threads, seconds, length))))


main()
