"""The functions by other packages' signatures: their references' values and gradients, in float64 and float32."""

import inspect

import numpy as np
import pytest
from support import error, golden

torch = pytest.importorskip("torch")
fla = pytest.importorskip("baton.fla")
mamba_ssm = pytest.importorskip("baton.mamba_ssm")

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def leaves(values, dtype):
    return {
        key[3:]: torch.tensor(array, dtype=dtype, requires_grad=True)
        for key, array in values.items()
        if key.startswith("in.")
    }


def close(found, expected, dtype, what):
    assert error(found.detach().double().numpy(), expected) < TOLERANCE[dtype], what


def turned(array):
    """[B, H, T, ..] as [B, T, H, ..]."""
    return np.swapaxes(array, 1, 2)


# The function, the file and the name of its values, golden names of its arguments where they differ.
FLA = [
    ("chunk_gla", "fla_golden", "gla", {"g": "gk"}, {}),
    ("fused_recurrent_gla", "fla_golden", "gla", {}, {}),
    ("chunk_simple_gla", "fla_golden", "simple_gla", {}, {}),
    ("fused_recurrent_simple_gla", "fla_golden", "simple_gla", {}, {}),
    ("chunk_gated_delta_rule", "fla_golden", "gated_delta", {}, {}),
    ("fused_recurrent_gated_delta_rule", "fla_golden", "gated_delta", {}, {}),
    ("chunk_gdn", "fla_golden", "gated_delta", {}, {}),
    ("chunk_kda", "fla_golden", "kda", {}, {}),
    ("fused_recurrent_kda", "delta_golden", "kda", {}, {}),
    ("chunk_delta_rule", "fla_golden", "delta", {}, {}),
    ("fused_recurrent_delta_rule", "delta_golden", "delta_net", {}, {}),
    ("chunk_rwkv6", "fla_golden", "rwkv6", {"r": "q"}, {}),
    ("fused_recurrent_rwkv6", "fla_golden", "rwkv6", {"r": "q"}, {}),
    ("chunk_rwkv7", "delta_golden", "rwkv7", {}, {}),
    ("fused_recurrent_rwkv7", "delta_golden", "rwkv7", {}, {"scale": 1.0}),
    ("chunk_dplr_delta_rule", "delta_golden", "rwkv7", {"q": "r", "gk": "w"}, {"scale": 1.0}),
    ("chunk_comba", "delta_golden", "comba", {}, {}),
    ("fused_recurrent_comba", "delta_golden", "comba", {}, {}),
]


@DTYPES
@pytest.mark.parametrize("name, file, member, names, options", FLA, ids=[row[0] for row in FLA])
def test_values_of_flash_linear_attention(name, file, member, names, options, dtype):
    values = golden(file, member)
    function = getattr(fla, name)
    given = leaves(values, dtype)
    head_first = member in ("delta", "rwkv6") and file == "fla_golden"
    arguments = {}
    for argument in inspect.signature(function).parameters:
        key = names.get(argument, argument)
        if key in given:
            head_major = head_first and given[key].dim() > 2
            arguments[argument] = given[key].transpose(1, 2) if head_major else given[key]
    out, final = function(**arguments, initial_state=given["h0"], output_final_state=True, **options)
    expected = turned(values["o"]) if head_first else values["o"]
    close(out, expected, dtype, "o")
    close(final, values["hT"], dtype, "hT")
    arriving = turned(values["do"]) if head_first else values["do"]
    torch.autograd.backward(
        [out, final], [torch.tensor(arriving, dtype=dtype), torch.tensor(values["dhT"], dtype=dtype)]
    )
    for key, leaf in given.items():
        close(leaf.grad, values[f"grad.{key}"], dtype, key)


@DTYPES
def test_values_of_gated_delta_product(dtype):
    values = golden("delta_golden", "gated_delta_product")
    given = leaves(values, dtype)
    k, v, beta = (torch.stack([given[f"{name}0"], given[f"{name}1"]], 2).flatten(1, 2) for name in ("k", "v", "beta"))
    out, final = fla.chunk_gated_delta_product(
        given["q"], k, v, given["g"], beta, 2, initial_state=given["h0"], output_final_state=True
    )
    close(out, values["o"], dtype, "o")
    close(final, values["hT"], dtype, "hT")
    # The third factor of rate zero changes nothing.
    third = [
        torch.cat([x.unflatten(1, (-1, 2)), torch.zeros_like(x[:, ::2, None])], 2).flatten(1, 2) for x in (k, v, beta)
    ]
    more, _ = fla.chunk_gated_delta_product(
        given["q"], third[0], third[1], given["g"], third[2], 3, initial_state=given["h0"]
    )
    close(more, values["o"], dtype, "three factors")


def loop(q, k, v, decay, rate=None, state=None, scale=None):
    """The recurrence of gated linear attention, and of the delta rule, written as it is defined."""
    K, V = k.shape[-1], v.shape[-1]
    S = q.new_zeros(*q.shape[:1], q.shape[2], K, V) if state is None else state
    outs = []
    for t in range(q.shape[1]):
        S = decay[:, t].exp() * S
        error = v[:, t] if rate is None else rate[:, t, :, None] * (v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], S))
        S = S + k[:, t, :, :, None] * error[:, :, None]
        outs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S) * (K**-0.5 if scale is None else scale))
    return torch.stack(outs, 1), S


def draw(*shape, positive=False):
    x = torch.randn(*shape, dtype=torch.float64)
    return x.sigmoid() if positive else x


def test_options_of_flash_linear_attention():
    torch.manual_seed(3)
    B, T, H, HV, K, V = 2, 11, 2, 4, 5, 3
    q, k, v = draw(B, T, H, K), draw(B, T, H, K), draw(B, T, H, V)
    gk, gv, g = -draw(B, T, H, K, positive=True), -draw(B, T, H, V, positive=True), -draw(B, T, H, positive=True)
    h0 = draw(B, H, K, V)
    expected, final = loop(q, k, v, gk[..., None] + gv[..., None, :], state=h0, scale=0.7)
    out, state = fla.fused_recurrent_gla(
        q, k, v, gk, gv, scale=0.7, initial_state=h0.transpose(-1, -2), output_final_state=True, state_v_first=True
    )
    close(out, expected, q.dtype, "gk and gv")
    close(state.transpose(-1, -2), final, q.dtype, "state_v_first")
    assert fla.chunk_gla(q, k, v, gk)[1] is None

    # Time reversed, then packed and reversed.
    expected, final = loop(q.flip(1), k.flip(1), v.flip(1), g.flip(1)[..., None, None], state=h0)
    out, state = fla.fused_recurrent_simple_gla(q, k, v, g, initial_state=h0, output_final_state=True, reverse=True)
    close(out.flip(1), expected, q.dtype, "reverse")
    close(state, final, q.dtype, "reverse, state")
    flat = [x.flatten(0, 1)[None] for x in (q, k, v, g)]
    offsets = torch.tensor([0, T, 2 * T])
    out, state = fla.fused_recurrent_simple_gla(
        *flat, initial_state=h0, output_final_state=True, reverse=True, cu_seqlens=offsets
    )
    close(out.unflatten(1, (B, T))[0].flip(1), expected, q.dtype, "reverse, packed")
    close(state, final, q.dtype, "reverse, packed, state")

    # Keys for several value heads, normalised; a rate through the sigmoid.
    v, beta, g = draw(B, T, HV, V), draw(B, T, HV), -draw(B, T, HV, positive=True)
    unit = [(x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()).repeat_interleave(2, 2) for x in (q, k)]
    expected, _ = loop(*unit, v, g[..., None, None], 2 * beta.sigmoid())
    out, _ = fla.chunk_gated_delta_rule(
        q, k, v, g, beta, use_qk_l2norm_in_kernel=True, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True
    )
    close(out, expected, q.dtype, "grouped")

    # Gates computed inside.
    raw, rate, bias = draw(B, T, HV, K), draw(HV), draw(HV * K)
    gate = -rate.exp()[:, None] * torch.nn.functional.softplus(raw + bias.view(HV, K))
    expected, _ = loop(*[x.repeat_interleave(2, 2) for x in (q, k)], v, gate[..., None], beta)
    out, _ = fla.fused_recurrent_kda(q, k, v, raw, beta, rate, bias, use_gate_in_kernel=True)
    close(out, expected, q.dtype, "gate")
    bounded = -2 * (rate.exp()[:, None] * (raw + bias.view(HV, K))).sigmoid()
    expected, _ = loop(*[x.repeat_interleave(2, 2) for x in (q, k)], v, bounded[..., None], beta)
    out, _ = fla.chunk_kda(q, k, v, raw, beta, use_gate_in_kernel=True, lower_bound=-2.0, A_log=rate, dt_bias=bias)
    close(out, expected, q.dtype, "lower bound")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_keys_of_low_precision_are_normalised_in_float32(dtype):
    torch.manual_seed(8)
    B, T, H, K, V = 1, 7, 2, 16, 3
    given = [100 * draw(B, T, H, K), 100 * draw(B, T, H, K), 100 * draw(B, T, H, K), draw(B, T, H, V)]
    q, k, p, v = (x.to(dtype).requires_grad_() for x in given)
    beta, g = draw(B, T, H, positive=True).to(dtype), -draw(B, T, H, positive=True).float()
    wide = [x.detach().float().requires_grad_() for x in (q, k, p)]
    units = [x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in wide]
    rounded = [x.to(dtype) for x in units]
    assert all(x.isfinite().all() and (x.float().norm(dim=-1) - 1).abs().max() < 1e-2 for x in rounded)
    out, _ = fla.chunk_delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel=True)
    expected, _ = fla.chunk_delta_rule(*rounded[:2], v.detach(), beta)
    assert out.dtype == dtype and torch.equal(out, expected) and (out != 0).any()
    found = torch.autograd.grad(out.float().sum(), [q, k])
    for one, other in zip(found, torch.autograd.grad(expected.float().sum(), wide[:2])):
        assert one.dtype == dtype and torch.equal(one, other.to(dtype))
    out, _ = fla.chunk_comba(q, k, v, p, g, beta, use_qk_l2norm_in_kernel=True)
    assert torch.equal(out, fla.chunk_comba(*rounded[:2], v, rounded[2], g, beta)[0])


def test_fixed_decays_and_normalisers():
    torch.manual_seed(4)
    B, T, H, K, V = 2, 9, 3, 4, 2
    q, k, v = draw(B, T, H, K, positive=True), draw(B, T, H, K, positive=True), draw(B, T, H, V)
    heads = torch.arange(H, dtype=torch.float64)
    for out, decay in [
        (fla.chunk_retention(q, k, v)[0], (1 - 2.0 ** (-5 - heads)).log()),
        (fla.fused_recurrent_lightning_attn(q, k, v, 1, 4)[0], -8 / H * (1 - 1 / 4) * heads),
        (fla.chunk_simple_gla(q, k, v, g_gamma=-0.1 * heads)[0], -0.1 * heads),
    ]:
        expected, _ = loop(q, k, v, decay.view(1, 1, H, 1, 1).expand(B, T, H, 1, 1))
        assert torch.allclose(out, expected, atol=1e-6)
    plain, final = loop(q, k, v, torch.zeros(B, T, H, 1, 1, dtype=q.dtype))
    z = k.cumsum(1)
    expected = plain / ((q * K**-0.5 * z).sum(-1, keepdim=True) + 1e-10)
    first, states = fla.chunk_linear_attn(q[:, :5], k[:, :5], v[:, :5], output_final_state=True)
    assert states[1].shape == (B, 1, H, K)
    second, states = fla.chunk_linear_attn(q[:, 5:], k[:, 5:], v[:, 5:], initial_state=states, output_final_state=True)
    close(torch.cat([first, second], 1), expected, q.dtype, "normalised")
    close(states[0], final, q.dtype, "S")
    close(states[1], z[:, -1:], q.dtype, "z")

    x, g, h = draw(B, T, K), -draw(B, T, K, positive=True), draw(B, K)
    out, state = fla.fused_recurrent_hgrn(x, g, initial_state=h, output_final_state=True)
    for t in range(T):
        h = g[:, t].exp() * h + x[:, t]
        close(out[:, t], h, x.dtype, t)
    close(state, h, x.dtype, "h")
    a, b = draw(B, T, H, K) / K, draw(B, T, H, K) / K
    out, _ = fla.chunk_iplr_delta_rule(q, k, v, a, b)
    S = torch.zeros(B, H, K, V, dtype=q.dtype)
    for t in range(T):
        S = (
            S
            + b[:, t, :, :, None] * torch.einsum("bhk,bhkv->bhv", a[:, t], S)[:, :, None]
            + k[:, t, :, :, None] * v[:, t, :, None]
        )
        close(out[:, t], torch.einsum("bhk,bhkv->bhv", q[:, t], S) * K**-0.5, q.dtype, t)


def test_signatures_and_what_is_refused():
    q = torch.zeros(1, 2, 1, 2)
    for name in fla.__all__:
        assert getattr(fla, name).__name__ == name and getattr(fla, name).__doc__
    assert str(inspect.signature(fla.chunk_gla)).startswith("(q, k, v, g, scale=None, initial_state=None")
    for call, exception, said in [
        (lambda: fla.chunk_gla(q, q, q), TypeError, r"chunk_gla\(\).*'g'"),
        (lambda: fla.chunk_retention(q, q, q, decay=1), TypeError, "unexpected keyword argument 'decay'"),
        (lambda: fla.chunk_kda(q, q, q, q, q[..., 0], cp_context=1), ValueError, "cp_context"),
        (lambda: fla.chunk_delta_rule(q, q, q, q), ValueError, r"`beta` has shape \[1, 2, 1, 2\]"),
        (lambda: mamba_ssm.selective_scan_fn(q[0], q[0], q[0, 0].cfloat(), q[0], q[0]), TypeError, "complex"),
        (
            lambda: mamba_ssm.selective_scan_fn(q[0], q[0], q[0, 0], torch.zeros(3, 2), q[0]),
            ValueError,
            r"tensor `B` has shape \[3, 2\], expected \[1, N\], \[B, N, T\] or \[B, G, N, T\]",
        ),
    ]:
        with pytest.raises(exception, match=said):
            call()


def flags(values, names, dtype):
    return {name: torch.tensor(values[name], dtype=dtype, requires_grad=True) for name in names}


@DTYPES
@pytest.mark.parametrize("case", ["a", "b"])
def test_values_of_mamba_chunk_scan_combined(case, dtype):
    values = golden("ssd_f64", case)
    given = flags(values, ["x", "dt", "A", "B", "C", "D", "dt_bias", "h0"], dtype)
    x, dt, A, B, C, D, bias, h0 = given.values()
    y, final = mamba_ssm.mamba_chunk_scan_combined(
        x, dt, A, B, C, 64, D, dt_bias=bias, initial_states=h0, dt_softplus=True, return_final_states=True
    )
    close(y, values["y"], dtype, "y")
    close(final, values["hT"], dtype, "hT")
    torch.autograd.backward([y, final], [torch.tensor(values[key], dtype=dtype) for key in ("dy", "dhT")])
    for key, leaf in given.items():
        close(leaf.grad, values[f"grad_{key}"], dtype, key)


def test_options_of_mamba_chunk_scan_combined():
    torch.manual_seed(5)
    B, T, H, P, G, N = 2, 12, 4, 3, 2, 5
    x, z, dt = draw(B, T, H, P), draw(B, T, H, P), draw(B, T, H)
    A, b, c, D = -draw(H, positive=True), draw(B, T, G, N), draw(B, T, G, N), draw(H, P)
    h0 = draw(B, H, P, N)

    def run(x, z, dt, b, c, h0, **options):
        return mamba_ssm.mamba_chunk_scan_combined(
            x, dt, A, b, c, 4, D, z, initial_states=h0, return_final_states=True, **options
        )

    limited = torch.nn.functional.softplus(dt).clamp(0.2, 0.9)
    y, final = run(x, z, dt, b, c, h0, dt_softplus=True, dt_limit=(0.2, 0.9))
    again, _ = run(x, z, limited, b, c, h0)
    close(y, again.numpy(), x.dtype, "limits")
    S = h0.clone()
    for t in range(T):
        heads = [u[:, t].repeat_interleave(H // G, 1) for u in (b, c)]
        S = (A * limited[:, t]).exp()[..., None, None] * S + (limited[:, t, :, None] * x[:, t])[..., None] * heads[0][
            :, :, None
        ]
        step = (torch.einsum("bhpn,bhn->bhp", S, heads[1]) + D * x[:, t]) * torch.nn.functional.silu(z[:, t])
        close(y[:, t], step, x.dtype, t)
    close(final, S, x.dtype, "final")
    # Sequences inside of rows.
    index = torch.tensor([[0] * 5 + [1] * 7, [3] * 12])
    y, final = run(x, z, limited, b, c, h0, seq_idx=index)
    first, _ = run(*[u[:1, :5] for u in (x, z, limited, b, c)], h0[:1])
    second, last = run(*[u[:1, 5:] for u in (x, z, limited, b, c)], None)
    close(y[:1], torch.cat([first, second], 1).numpy(), x.dtype, "seq_idx")
    close(final[:1], last.numpy(), x.dtype, "seq_idx, state")
    # Initial states of rows are those of the sequences of index 0.
    third, _ = run(*[u[1:] for u in (x, z, limited, b, c)], None)
    close(y[1:], third.numpy(), x.dtype, "seq_idx that begins at another")
    every, _ = run(x, z, limited, b, c, draw(3, H, P, N).index_copy(0, torch.tensor([0]), h0[:1]), seq_idx=index)
    close(every[:1, :5], first.numpy(), x.dtype, "a state for every sequence")


def test_offsets_of_mamba_chunk_scan_combined():
    """As in mamba_ssm, only `seq_idx` separates sequences, and `cu_seqlens` says whose states are given besides."""
    torch.manual_seed(7)
    T, H, P, G, N = 12, 4, 3, 2, 5
    x, dt, A = draw(1, T, H, P), draw(1, T, H, positive=True), -draw(H, positive=True)
    b, c, h0 = draw(1, T, G, N), draw(1, T, G, N), draw(1, H, P, N)
    index = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3])

    def run(first=0, last=T, states=h0, **options):
        steps = [u[:, first:last] for u in (x, dt, b, c)]
        return mamba_ssm.mamba_chunk_scan_combined(
            *steps[:2], A, *steps[2:], 4, initial_states=states, return_final_states=True, **options
        )

    offsets = torch.tensor([0, 5, 9, 12], dtype=torch.int32)
    for options in ({}, {"seq_idx": index}):
        for one, other in zip(run(**options), run(cu_seqlens=offsets, **options), strict=True):
            assert torch.equal(one, other)
    parts = [run(0, 5), run(5, 9, None), run(9, 12, None)]
    y, final, states = run(cu_seqlens=offsets, seq_idx=index, return_varlen_states=True)
    close(y, torch.cat([part[0] for part in parts], 1).numpy(), x.dtype, "y")
    close(final, parts[2][1].numpy(), x.dtype, "final")
    close(states, torch.cat([part[1] for part in parts]).numpy(), x.dtype, "states")
    whole = run(cu_seqlens=torch.tensor([0, T]), return_varlen_states=True)
    assert torch.equal(whole[1], whole[2])
    # Empty ones leave nothing, and what is not asked for (padding, say) is left out.
    _, _, few = run(cu_seqlens=torch.tensor([0, 0, 5, 5, 9]), seq_idx=index, return_varlen_states=True)
    assert torch.equal(few[[1, 3]], states[:2]) and (few[[0, 2]] == 0).all()
    for given, idx, said in [
        ([0, 5, 12], None, "`cu_seqlens` has a sequence from 0 to 5"),
        ([0, 5, 12], index, "`cu_seqlens` has a sequence from 5 to 12"),
        ([0, 5, 9, 13], index, "`cu_seqlens` has a sequence from 9 to 13"),
        ([0, 5, 0, 12], index, "`cu_seqlens` has a sequence from 5 to 0"),
    ]:
        with pytest.raises(ValueError, match=said):
            run(cu_seqlens=torch.tensor(given), seq_idx=idx, return_varlen_states=True)
    with pytest.raises(ValueError, match="without `cu_seqlens`"):
        run(return_varlen_states=True)
    x, dt, b, c = (u.expand(2, *u.shape[1:]) for u in (x, dt, b, c))
    with pytest.raises(ValueError, match=r"tensor `x` has shape \[2, 12, 4, 3\], expected one row"):
        run(states=None, cu_seqlens=offsets, return_varlen_states=True)


@DTYPES
def test_values_of_selective_scan_fn(dtype):
    values = golden("family_golden", "mamba1")
    given = leaves(values, dtype)
    out, last = mamba_ssm.selective_scan_fn(
        given["u"].transpose(1, 2),
        given["dt"].transpose(1, 2),
        given["A"],
        given["B"].permute(0, 2, 3, 1),
        given["C"].permute(0, 2, 3, 1),
        given["D"],
        delta_bias=given["dt_bias"],
        delta_softplus=True,
        return_last_state=True,
        initial_state=given["h0"],
    )
    close(out.transpose(1, 2), values["o"], dtype, "o")
    close(last, values["hT"], dtype, "hT")
    arriving = [torch.tensor(values["do"], dtype=dtype).transpose(1, 2), torch.tensor(values["dhT"], dtype=dtype)]
    torch.autograd.backward([out, last], arriving)
    for key, leaf in given.items():
        close(leaf.grad, values[f"grad.{key}"], dtype, key)


@pytest.mark.parametrize("heads", [0, 3])
def test_one_step_is_the_scan_of_one(heads):
    torch.manual_seed(6)
    B, H, P, G, N = 4, max(heads, 1), 2 if heads else 6, 1, 5
    x, dt, z = draw(B, H, P), draw(B, H, P), draw(B, H, P)
    A, D, bias = -draw(H, P, N, positive=True), draw(H, P), draw(H, P)
    b, c, state = draw(B, G, N), draw(B, G, N), draw(B, H, P, N)
    delta = torch.nn.functional.softplus(dt + bias)[..., None]
    after = (A * delta).exp() * state + delta * x[..., None] * b[:, :, None]
    expected = ((after * c[:, :, None]).sum(-1) + D * x) * torch.nn.functional.silu(z)
    given = [x, dt, A, b, c, D, z, bias]
    if not heads:
        given = [u.squeeze(1) for u in (x, dt)] + [A[0], b[:, 0], c[:, 0], D[0], z[:, 0], bias[0]]
    written = state.clone() if heads else state[:, 0].clone()
    rows = torch.tensor([2, 0])
    out = mamba_ssm.selective_state_update(written, *given, dt_softplus=True)
    close(out.view(B, H, P), expected, x.dtype, "y")
    close(written.view(B, H, P, N), after, x.dtype, "state")
    some = state.clone() if heads else state[:, 0].clone()
    few = [u[rows] if i in (0, 1, 3, 4, 6) else u for i, u in enumerate(given)]
    mamba_ssm.selective_state_update(some, *few, dt_softplus=True, state_batch_indices=rows)
    close(some.view(B, H, P, N)[rows], after[rows], x.dtype, "indices")
    close(some.view(B, H, P, N)[[1, 3]], state[[1, 3]], x.dtype, "others")


@DTYPES
@pytest.mark.parametrize("packed", [False, True])
def test_values_of_mamba3(dtype, packed):
    values = golden("family_golden", "mamba3")
    given = leaves(values, dtype)
    names = {"Q": "q", "K": "k", "V": "v", "ADT": "adt", "DT": "dt", "Trap": "trap", "Q_bias": "q_bias", "K_bias": "k_bias"}
    arguments = {name: given[key] for name, key in {**names, "Angles": "angles"}.items()}
    steps = values["in.v"].shape[1]
    if packed:  # one row after the other
        arguments = {
            name: tensor if "bias" in name else tensor.flatten(0, 1)[None] for name, tensor in arguments.items()
        }
    for name in ("ADT", "DT", "Trap"):
        arguments[name] = arguments[name].transpose(1, 2)
    arguments |= {"D": given["D"], "Input_States": (given["theta0"], given["S0"].mT, given["k0"], given["v0"])}
    arguments["cu_seqlens"] = torch.tensor([0, steps, 2 * steps]) if packed else None
    out, angle, ssm, k, v = mamba_ssm.mamba3_siso_combined(**arguments, return_final_states=True)
    z = torch.randn(out.shape, dtype=dtype)
    gated = mamba_ssm.mamba3_siso_combined(**arguments, Z=z)
    close(gated, (out * torch.nn.functional.silu(z)).detach().double().numpy(), dtype, "z")
    out = out.view(values["o"].shape)
    close(out, values["o"], dtype, "o")
    turn = angle.detach().double().numpy() - values["hT.theta"]
    assert np.abs(np.sin(turn / 2)).max() < TOLERANCE[dtype] and ((angle >= 0) & (angle < 2 * np.pi)).all()
    ends = {"theta": angle, "S": ssm.mT, "k": k, "v": v}
    for key in ("S", "k", "v"):
        close(ends[key], values[f"hT.{key}"], dtype, key)
    arriving = [torch.tensor(values[f"dhT.{key}"], dtype=dtype) for key in ends]
    torch.autograd.backward([out, *ends.values()], [torch.tensor(values["do"], dtype=dtype), *arriving])
    for key, leaf in given.items():
        close(leaf.grad, values[f"grad.{key}"], dtype, key)
