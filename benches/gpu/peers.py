"""The peers' kernels at the same shapes, where they are installed: mamba_ssm and fla."""

import importlib


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
    module, name = {
        "linear_attention": ("fla.ops.linear_attn", "chunk_linear_attn"),
        "simple_gla": ("fla.ops.simple_gla", "chunk_simple_gla"),
        "gla": ("fla.ops.gla", "chunk_gla"),
    }[recurrence]
    scan = find(module, name)
    if scan is None:
        return None
    q, k = (tensor(batch, steps, heads, sizes["K"]) for _ in range(2))
    v = tensor(batch, steps, heads, sizes["V"])
    given, options = [q, k, v], {}
    if recurrence == "linear_attention":
        options["normalize"] = False
    else:
        last = () if recurrence == "simple_gla" else (sizes["K"],)
        gate = -0.1 * torch.rand(batch, steps, heads, *last, device="cuda")
        dtype = torch.float32 if recurrence == "simple_gla" else torch.bfloat16
        given.append(gate.to(dtype).requires_grad_())

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
