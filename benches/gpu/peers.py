"""The peers' kernels at the same shapes, where they are installed: mamba_ssm and fla."""

import importlib


# Members of flash-linear-attention: where, which function, and its arguments in their order.
FLA = {
    "linear_attention": ("fla.ops.linear_attn", "chunk_linear_attn", "q, k, v"),
    "simple_gla": ("fla.ops.simple_gla", "chunk_simple_gla", "q, k, v, head decay"),
    "gla": ("fla.ops.gla", "chunk_gla", "q, k, v, key decay"),
    "retnet": ("fla.ops.retention", "chunk_retention", "q, k, v"),
    "rwkv6": ("fla.ops.rwkv6", "chunk_rwkv6", "q, k, v, key decay, bonus"),
    "delta_net": ("fla.ops.delta_rule", "chunk_delta_rule", "q, unit, v, beta"),
    "gated_delta_net": ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule", "q, unit, v, head decay, beta"),
    "kda": ("fla.ops.kda", "chunk_kda", "q, unit, v, key decay, beta"),
    "comba": ("fla.ops.comba", "chunk_comba", "q, unit, v, unit, head decay, beta"),
    "rwkv7": ("fla.ops.rwkv7", "chunk_rwkv7", "q, key decay, k, v, removed, written"),
}


def find(module, name):
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, RuntimeError):
        return None


def prepare(torch, recurrence, shape, sizes):
    """(peer's name, function, arguments with gradients), or None where there is no peer."""
    batch, steps, heads, groups = shape

    def tensor(*size, dtype=torch.bfloat16, scale=0.5):
        return (scale * torch.randn(size, device="cuda")).to(dtype).requires_grad_()

    if recurrence == "mamba2":
        scan = find("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")
        if scan is None:
            return None
        n, p = sizes["N"], sizes["P"]
        x, dt = tensor(batch, steps, heads, p), tensor(batch, steps, heads, dtype=torch.float32)
        b, c = (tensor(batch, steps, groups, n) for _ in range(2))
        a = (-torch.rand(heads, device="cuda") - 0.5).requires_grad_()
        d, bias = (tensor(heads, dtype=torch.float32) for _ in range(2))

        def run():
            return scan(x, dt, a, b, c, chunk_size=256, D=d, dt_bias=bias, dt_softplus=True)

        return "mamba_ssm", run, [x, dt, a, b, c, d, bias]
    module, name, arguments = FLA.get(recurrence, ("", "", ""))
    scan = find(module, name) if module else None
    if scan is None:
        return None

    def leaf(x, dtype=torch.bfloat16):
        return x.detach().to(dtype).requires_grad_()

    def unit():
        return leaf(torch.nn.functional.normalize(torch.randn(batch, steps, heads, sizes["K"], device="cuda"), dim=-1))

    def rates(*last):
        return torch.rand(batch, steps, heads, *last, device="cuda")

    keys = unit()
    makes = {
        "q": lambda: tensor(batch, steps, heads, sizes["K"]),
        "k": lambda: tensor(batch, steps, heads, sizes["K"]),
        "v": lambda: tensor(batch, steps, heads, sizes["V"]),
        "unit": unit,
        "beta": lambda: leaf(rates()),
        "head decay": lambda: leaf(-0.1 * rates(), torch.float32),
        "key decay": lambda: leaf(-0.1 * rates(sizes["K"])),
        "bonus": lambda: tensor(heads, sizes["K"]),
        "removed": lambda: leaf(-keys),
        "written": lambda: leaf(keys * rates(1)),
    }
    given = [makes[argument.strip()]() for argument in arguments.split(",")]
    options = {"normalize": False} if recurrence == "linear_attention" else {}

    def run():
        return scan(*given, **options)[0]

    return "fla", run, given


def runs(torch, recurrence, shape, sizes):
    """(peer, phase, function to time): forward without gradients, and backward alone."""
    made = prepare(torch, recurrence, shape, sizes)
    if made is None:
        return []
    peer, run, given = made

    def forward():
        with torch.no_grad():
            run()

    output = run()
    arriving = torch.randn_like(output)

    def backward():
        torch.autograd.grad(output, given, arriving, retain_graph=True)

    return [(peer, "forward", forward), (peer, "backward", backward)]


def first(recurrence):
    """The first forward and backward of a process; fails where there is no peer."""
    import torch

    import shapes

    _, heads, groups, sizes = shapes.SHAPES[recurrence]
    made = prepare(torch, recurrence, (1, 256, heads, groups), sizes)
    if made is None:
        raise SystemExit(2)
    _, run, given = made
    output = run()
    torch.autograd.grad(output, given, torch.randn_like(output))
    torch.cuda.synchronize()
