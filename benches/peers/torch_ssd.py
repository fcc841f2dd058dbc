"""PyTorch's chunked SSD in batched matrix products, timed forward and backward on one shape.

The problem is the one every peer of this folder solves: with delta = softplus(dt), a < 0 per head and
S [P, N] per head,
    S_t = exp(a * delta_t) * S_{t-1} + delta_t * outer(x_t, b_t)        y_t = S_t c_t
for x [B, T, H, P], dt [B, T, H], b and c [B, T, G, N]; y and the last S are both outputs.

Two peers come from one function, `chunked`, which is written for G groups:
- "per head" gets b and c already repeated to one group per head, the form in which short einsum versions of
  SSD are usually published. The repetition is not timed.
- "per group" gets them as they are, so that c b^T is formed once per group: the same mathematics with the
  work that the first form wastes taken out.

A time counts only if the result was right: outputs are compared with a float64 recurrence on a small shape
and on the first and last head of the measured shape, gradients with float64 autograd through the recurrence
on the small shape. `checked_error` is the largest deviation over the largest reference magnitude of the same
array; above TOLERANCE the program fails and prints no time.

The last argument, MEMORY, says in the peer's name what the caller's environment makes the allocator do.

Timed: forward without a graph (what inference pays); backward alone, for x, dt, a, b and c with a cotangent
for y, over a graph built outside the clock. Nothing is compiled and nothing transposed beforehand.
"""

import json
import sys

import torch

from torch_peer import TOLERANCE, records, relative, set_threads

SMALL = (2, 192, 6, 8, 16, 2)


def chunked(x, dt, a, b, c, first, length):
    """y and last state, by chunks of `length`; the state enters and leaves as [B, H, P, N].

    Letters in the einsums: b batch, k chunk, t and s place in the chunk, g group, r head in the group.
    """
    batch, time_steps, heads, p = x.shape
    groups, n = b.shape[2:]
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
    """The definition, one token at a time; b and c have one group per head here."""
    delta = torch.nn.functional.softplus(dt)
    state, outputs = first, []
    for t in range(x.shape[1]):
        decay = (a * delta[:, t]).exp()[..., None, None]
        inflow = (delta[:, t].unsqueeze(-1) * x[:, t]).unsqueeze(-1) * b[:, t].unsqueeze(-2)
        state = decay * state + inflow
        outputs.append((state * c[:, t].unsqueeze(-2)).sum(-1))
    return torch.stack(outputs, 1), state


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


def small_error(length, expand):
    """Outputs and gradients on the small shape against float64 autograd through the recurrence."""
    heads = SMALL[2]
    inputs = data(SMALL, zero_state=False)
    cotangent = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(7))
    single = [tensor.clone().requires_grad_() for tensor in inputs]
    double = [tensor.double().requires_grad_() for tensor in inputs]
    bc = [per_head(tensor, heads) if expand else tensor for tensor in single[3:5]]
    got = chunked(*single[:3], *bc, single[5], length)
    want = recurrence(*double[:3], per_head(double[3], heads), per_head(double[4], heads), double[5])
    got_gradients = torch.autograd.grad(got[0], single, cotangent)
    want_gradients = torch.autograd.grad(want[0], double, cotangent.double())
    pairs = list(zip(got, want)) + list(zip(got_gradients, want_gradients))
    return max(relative(mine, truth.detach()) for mine, truth in pairs)


def measured_error(inputs, bc, length):
    """First and last head of the measured shape against the float64 recurrence."""
    x, dt, a, _, _, first = inputs
    heads = x.shape[2]
    pick = torch.tensor([0, heads - 1])
    y, last = chunked(x, dt, a, *bc, first, length)
    truth = recurrence(
        x[:, :, pick].double(),
        dt[:, :, pick].double(),
        a[pick].double(),
        *(per_head(tensor, heads)[:, :, pick].double() for tensor in bc),
        first[:, pick].double(),
    )
    return max(relative(y[:, :, pick], truth[0]), relative(last[:, pick], truth[1]))


def measure(name, shape, threads, seconds, length, expand):
    inputs = data(shape, zero_state=True)
    bc = [per_head(tensor, shape[2]).contiguous() if expand else tensor for tensor in inputs[3:5]]
    with torch.no_grad():
        error = measured_error(inputs, bc, length)
    error = max(error, small_error(length, expand))
    if not error <= TOLERANCE:
        sys.exit(f"torch_ssd: {name}: relative error {error:.3g}, expected at most {TOLERANCE:.3g}")

    leaves = [tensor.clone().requires_grad_() for tensor in (*inputs[:3], *bc)]
    cotangent = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(7))

    def forward(_):
        with torch.no_grad():
            return chunked(*inputs[:3], *bc, inputs[5], length)

    def graph():
        return chunked(*leaves, inputs[5], length)[0]

    def backward(y):
        return torch.autograd.grad(y, leaves, cotangent)

    phases = {"forward": (lambda: None, forward), "backward": (graph, backward)}
    batch, time_steps, heads, p, n, groups = shape
    shape = f"B{batch} T{time_steps} H{heads} P{p} N{n} G{groups} f32"
    return records(name, length, shape, threads, seconds, error, phases)


def main():
    try:
        shape = tuple(int(size) for size in sys.argv[1].split(","))
        threads, seconds, length = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
        memory = sys.argv[5]
        _, time_steps, heads, _, _, groups = shape
        valid = min(*shape, threads, length) >= 1 and seconds > 0
    except (IndexError, ValueError):
        sys.exit("torch_ssd: expected B,T,H,P,N,G THREADS SECONDS CHUNK MEMORY, such as 1,2048,80,64,128,1 2 5 64 kept")
    if not valid or heads % groups or time_steps % length or SMALL[1] % length:
        sys.exit(
            f"torch_ssd: shape {sys.argv[1]}, chunk {length}: every size must be at least 1, H a multiple of G,"
            f" and CHUNK a divisor of T and of {SMALL[1]}"
        )
    set_threads(threads)
    found = []
    for form, expand in (("per head", True), ("per group", False)):
        found += measure(f"torch einsum, {form}, {memory}", shape, threads, seconds, length, expand)
    print(json.dumps(found))


main()
