"""The recurrences step by step in torch, f64: the truth that a kernel is compared with.

A recurrence is its tensors (in the order of its text) and one step. Gradients are torch's own.
"""

# Name: inputs (name, dims, per group), params, dims of the state, dims of the output.
RECURRENCES = {
    "mamba2": (
        [("x", "P", False), ("b", "N", True), ("c", "N", True), ("dt", "", False)],
        [("a_log", ""), ("d", ""), ("dt_bias", "")], "NP", "P",
    ),
    "linear_attention": ([("q", "K", False), ("k", "K", False), ("v", "V", False)], [], "KV", "V"),
    "retnet": (
        [("q", "K", False), ("k", "K", False), ("v", "V", False)], [("log_decay", "")], "KV", "V",
    ),
    "simple_gla": (
        [("q", "K", False), ("k", "K", False), ("v", "V", False), ("g", "", False)], [], "KV", "V",
    ),
    "gla": (
        [("q", "K", False), ("k", "K", False), ("v", "V", False), ("g", "K", False)], [], "KV", "V",
    ),
    "hgrn2": ([("q", "K", False), ("g", "K", False), ("i", "V", False)], [], "KV", "V"),
    "rwkv6": (
        [("r", "K", False), ("k", "K", False), ("v", "V", False), ("w", "K", False)],
        [("u", "K")], "KV", "V",
    ),
}
LOG_DECAYS = {"g", "w", "log_decay"}


def outer(a, b):
    return a[..., :, None] * b[..., None, :]


def dot(a, state):
    return (a[..., :, None] * state).sum(-2)


def step(name, i, p, state):
    """Output and new state from inputs `i` [B, H, ...] and params `p` [H, ...], both by name."""
    import torch

    if name == "mamba2":
        delta = torch.nn.functional.softplus(i["dt"] + p["dt_bias"])
        decay = torch.exp(-torch.exp(p["a_log"]) * delta)
        state = decay[..., None, None] * state + outer(i["b"], delta[..., None] * i["x"])
        return dot(i["c"], state) + p["d"][..., None] * i["x"], state
    if name == "rwkv6":
        read = i["r"] * i["r"].shape[-1] ** -0.5
        output = dot(read, state + outer(p["u"] * i["k"], i["v"]))
        return output, torch.exp(i["w"])[..., None] * state + outer(i["k"], i["v"])
    if name == "hgrn2":
        keep = torch.exp(i["g"])
        state = keep[..., None] * state + outer(1 - keep, i["i"])
    elif name == "retnet":
        state = torch.exp(p["log_decay"])[..., None, None] * state + outer(i["k"], i["v"])
    elif name == "simple_gla":
        state = torch.exp(i["g"])[..., None, None] * state + outer(i["k"], i["v"])
    elif name == "gla":
        state = torch.exp(i["g"])[..., None] * state + outer(i["k"], i["v"])
    elif name == "linear_attention":
        state = state + outer(i["k"], i["v"])
    else:
        raise KeyError(name)
    return dot(i["q"] * i["q"].shape[-1] ** -0.5, state), state


def draw(tensor_name, shape, generator, device):
    """Numbers of the size a model has, in f64."""
    import torch

    numbers = torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
    if tensor_name in LOG_DECAYS:
        return -0.2 * torch.nn.functional.softplus(numbers)
    return 0.5 * numbers


def run(name, inputs, params, state, chunk):
    """Outputs [B, T, H, ...], the last state, and the states that entered each chunk."""
    import torch

    declared, declared_params, _, _ = RECURRENCES[name]
    heads, outputs, entering = state.shape[1], [], []
    spread = [
        x.repeat_interleave(heads // x.shape[2], 2) if grouped else x
        for x, (_, _, grouped) in zip(inputs, declared)
    ]
    p = {n: x for (n, _), x in zip(declared_params, params)}
    for t in range(inputs[0].shape[1]):
        if t % chunk == 0:
            entering.append(state)
        i = {n: x[:, t] for (n, _, _), x in zip(declared, spread)}
        output, state = step(name, i, p, state)
        outputs.append(output)
    # [B, chunks, H, ...] as the kernels count them: all chunks of a row, then the next row.
    entering = torch.stack(entering, 1).flatten(0, 1)
    return torch.stack(outputs, 1), state, entering
