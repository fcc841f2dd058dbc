"""PyTorch's grouped cross attention (GCA) and hierarchical sparse attention (HSA) on one shape, eager; torch_peer.py has the clock.

    torch_retrieval.py gca|hsa C,H,G,D,S,N,W THREADS SECONDS [truth FILE]

The problem (docs/retrieval.md): a row asks with a vector of W for N of the chunks that it sees, by the scores of their C landmarks over
the root of W; the scores of those become weights; its queries, G for each of H heads of keys of D numbers, attend to the S
positions of each chosen chunk by itself, and the results are summed by the weights.

    gca: a row is a chunk of S + 1 positions and sees the chunks before the one before it; weights are a softmax; beside a chunk's S
         positions stands one whose key and value are zero, as the published code sets those of a landmark
    hsa: a row is one position and sees the chunks before its own; weights break a stick, the most recent chunk first

This is the way without kernels of one's own: keys and values of chosen chunks are gathered, everything else is batched products and
PyTorch's own softmax. A time counts only if outputs and all five gradients are those of a loop over rows in float64, on this very shape.
With `truth` nothing is timed: FILE holds ours (retrieval/examples/operators.rs), its largest deviation from that loop is printed.
"""

import json
import os
import sys
import time

import numpy
import torch
from torch.nn.functional import pad, softplus

from torch_peer import TOLERANCE, relative, timed

SEED = 20240531
NONE = torch.finfo(torch.float32).min


def numbers(place, size):
    """The next numbers of SplitMix64, uniform in [-1, 1), and the place after them."""
    count = int(numpy.prod(size))
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(place) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        place = z[-1]
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    uniform = ((z ^ (z >> numpy.uint64(31))) >> numpy.uint64(40)).astype(numpy.float32) / (1 << 23) - 1
    return torch.from_numpy(uniform.astype(numpy.float32)).view(*size), place


class Problem:
    def __init__(self, form, sizes):
        chunks, heads, shared, width, positions, self.top, landmark = sizes
        self.grouped = form == "gca"
        each = positions + 1 if self.grouped else 1
        rows = chunks if self.grouped else chunks * positions
        row = torch.arange(rows)
        self.visible = (row - 1).clamp(min=0) if self.grouped else row // positions
        place, given = SEED, []
        for size in (
            (rows, landmark),
            (chunks, landmark),
            (rows, each, heads, shared, width),
            *2 * ((chunks, positions, heads, width),),
            (rows, each, heads, shared, width),
        ):
            tensor, place = numbers(place, size)
            given.append(tensor)
        *self.given, self.arriving = given

    def weights(self, scores):
        """Of rows in the order of their choice; what was not there has the score NONE."""
        if self.grouped:
            return scores.softmax(-1)
        return (scores - softplus(scores).cumsum(-1)).exp()

    def run(self, asking, landmarks, queries, keys, values):
        """The outputs, [R, M, H, G, D]."""
        scores = asking @ landmarks.t() * asking.shape[-1] ** -0.5
        hidden = torch.arange(scores.shape[1]) >= self.visible.unsqueeze(1)
        best = scores.detach().masked_fill(hidden, -torch.inf).topk(self.top, -1)
        found = best.indices.masked_fill(best.values == -torch.inf, -1)
        if not self.grouped:
            found = found.sort(-1, descending=True).values
        there, found = found >= 0, found.clamp(min=0)
        weights = self.weights(scores.gather(1, found).masked_fill(~there, NONE)) * there
        if self.grouped:
            keys, values = pad(keys, (0, 0, 0, 0, 0, 1)), pad(values, (0, 0, 0, 0, 0, 1))
        near = torch.einsum("rmhgd,rkshd->rhmgks", queries, keys[found]) * queries.shape[-1] ** -0.5
        shares = near.softmax(-1) * weights[:, None, None, None, :, None]
        return torch.einsum("rhmgks,rkshd->rmhgd", shares, values[found])

    def truth(self):
        """Outputs and gradients of the definition in float64, row by row."""
        # Leaves by row and by chunk: the gradient of a part of a tensor would be as large as the whole, in every row.
        leaves = [[part.double().requires_grad_() for part in tensor] for tensor in self.given]
        asking, landmarks, queries, keys, values = leaves
        outputs = []
        for row, visible in enumerate(self.visible.tolist()):
            if visible == 0:
                outputs.append(torch.zeros_like(queries[row]).detach())
                continue
            scores = torch.stack(landmarks[:visible]) @ asking[row] / len(asking[row]) ** 0.5
            found = scores.topk(min(self.top, visible)).indices
            found = found if self.grouped else found.sort(descending=True).values
            scores = scores[found]
            if self.grouped:
                weights = scores.exp() / scores.exp().sum()
            else:
                left = torch.cat((scores.new_ones(1), (1 - scores.sigmoid()).cumprod(0)[:-1]))
                weights = scores.sigmoid() * left
            total = 0
            for weight, chunk in zip(weights, found.tolist()):
                near = torch.einsum("mhgd,shd->mhgs", queries[row], keys[chunk]) / queries[row].shape[-1] ** 0.5
                near = near.exp()
                shares = near / (near.sum(-1, keepdim=True) + float(self.grouped))
                total = total + weight * torch.einsum("mhgs,shd->mhgd", shares, values[chunk])
            outputs.append(total.detach())
            torch.autograd.backward(total, self.arriving[row].double())
        slope = lambda leaf: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return [torch.stack(outputs), *(torch.stack([slope(part) for part in parts]) for parts in leaves)]


def ours(file, like):
    """The arrays of FILE in the shapes of others."""
    flat = torch.from_numpy(numpy.fromfile(file, numpy.float32))
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like)]


def main():
    try:
        form, sizes = sys.argv[1], tuple(int(size) for size in sys.argv[2].split(","))
        threads, seconds, rest = int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]
        valid = form in ("gca", "hsa") and len(sizes) == 7 and min(*sizes, threads) >= 1
        valid = valid and sizes[0] >= sizes[5] and (not rest or rest[0] == "truth" and len(rest) == 2)
    except (IndexError, ValueError):
        valid = False
    if not valid:
        sys.exit("expected gca|hsa C,H,G,D,S,N,W THREADS SECONDS [truth FILE], with at least as many chunks C as are chosen, N")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    problem = Problem(form, sizes)
    if rest:
        truth = problem.truth()
        print(json.dumps({"checked_error": max(map(relative, ours(rest[1], truth), truth))}))
        return

    def forward(_):
        with torch.no_grad():
            return problem.run(*problem.given)

    leaves = [tensor.clone().requires_grad_() for tensor in problem.given]
    graph = lambda: problem.run(*leaves)
    backward = lambda output: torch.autograd.grad(output, leaves, problem.arriving)
    output = graph()
    got = [output.detach(), *backward(output)]
    del output
    cold = 1e3 * (time.time() - float(os.environ.get("BENCH_BEGUN", "nan")))
    error = max(map(relative, got, problem.truth()))
    if not error <= TOLERANCE:
        sys.exit(f"wrong by {error:.3g} of the largest number, allowed {TOLERANCE:.3g}")
    del got
    found = {}
    for phase, ready, call in (("forward", lambda: None, forward), ("backward", graph, backward)):
        times = timed(ready, call, seconds)
        low, middle, high = (round(times.quantile(share).item(), 4) for share in (0.1, 0.5, 0.9))
        found[phase] = {"median_ms": middle, "p10_ms": low, "p90_ms": high, "repetitions": len(times)}
    version = f"torch {torch.__version__}"
    print(json.dumps({"version": version, "cold_start_ms": cold, "checked_error": error, "phases": found}))


if __name__ == "__main__":
    main()
