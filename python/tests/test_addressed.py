"""Tensors of a GPU, which go by address: the same way with the emulator behind it, whose memory is the host's. It runs the
kernels for GPUs, so what is compared is small, and of a size whose kernels are shipped. Not yet run on a GPU."""

import baton
import pytest

torch = pytest.importorskip("torch")
import baton.torch  # noqa: E402
from baton import addressed  # noqa: E402

SIZES = {
    "mamba2": {"B": 2, "T": 20, "G": 1, "H": 2, "N": 16, "P": 64},
    "gla": {"B": 2, "T": 20, "H": 1, "K": 16, "V": 64},
    "delta_net": {"B": 1, "T": 20, "H": 1, "K": 16, "V": 64},
}
SEEN = []


@pytest.fixture
def emulated(monkeypatch):
    """Tensors of the CPU in the place of a GPU's, until the end of the test."""
    SEEN.clear()

    def emulator(device):
        SEEN.append(device)
        return "emulator", 0, 0

    return lambda: monkeypatch.setitem(addressed.DEVICES, "cpu", emulator)


def leaves(recurrence, size, dtype, sequences=None):
    """Tensors and states; scalars of heads and steps stay in float32."""
    torch.manual_seed(1)
    made = {}
    for port in recurrence.inputs + recurrence.params:
        tensor = 0.5 * torch.randn([size[symbol] for symbol in port.layout])
        matrix = port.dims and port in recurrence.inputs
        if port.name == "g":
            tensor = torch.nn.functional.logsigmoid(tensor)
        made[port.name] = tensor.to(dtype if matrix else torch.float32)
    states = {}
    for port in recurrence.states:
        shape = [sequences or size["B"], *(size[symbol] for symbol in port.layout[1:])]
        states[port.name] = 0.5 * torch.randn(shape)
    return made, states


def run(recurrence, tensors, states, offsets=None, of=""):
    """Outputs, final states and all gradients, from those of them whose name begins so."""
    given = {name: tensor.detach().requires_grad_() for name, tensor in {**tensors, **states}.items()}
    initial = {name: given[name] for name in states}
    layer = baton.torch.Recurrence(recurrence)
    outputs, final = layer(
        **{name: given[name] for name in tensors}, initial_state=initial, output_final_state=True, cu_seqlens=offsets
    )
    results = {**outputs, **{f"final {name}": state for name, state in final.items()}}
    generator = torch.Generator().manual_seed(3)
    heads = {name: torch.randn(result.shape, generator=generator).to(result.device) for name, result in results.items()}
    loss = sum((result.float() * heads[name]).sum() for name, result in results.items() if name.startswith(of))
    gradients = dict(zip(given, torch.autograd.grad(loss, list(given.values()))))
    return results, gradients


def close(found, expected, tolerance):
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape, name
            largest = max(1.0, tensor.abs().max().item())
            assert (ours[name].float() - tensor.float()).abs().max() < tolerance * largest, name


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("name", SIZES)
def test_by_address_is_as_on_the_cpu(name, dtype, tolerance, packed, emulated):
    recurrence, size = baton.Recurrence(name), dict(SIZES[name])
    offsets = None
    if packed:
        size["B"], offsets = 1, torch.tensor([0, 7, 7, 20])
    tensors, states = leaves(recurrence, size, dtype, 3 if packed else None)
    expected = run(recurrence, tensors, states, offsets)
    emulated()
    close(run(recurrence, tensors, states, offsets), expected, tolerance)
    assert len(SEEN) == 2  # a run forward and one backward


def test_tensors_are_read_where_they_lie_or_laid_out(emulated):
    """Parts of one projection, transposed heads, a broadcast and an odd beginning; states may be absent."""
    recurrence, size = baton.Recurrence("gla"), SIZES["gla"]
    tensors, _ = leaves(recurrence, size, torch.float32)
    whole = torch.cat([tensors[name].flatten(2) for name in ("q", "k", "v")], -1)
    q, k, v = whole.split([16, 16, 64], -1)
    odd = torch.empty(tensors["g"].numel() + 1)[1:].view(tensors["g"].shape)
    odd.copy_(tensors["g"])
    lent = {"q": q.unflatten(-1, (1, 16)), "k": k.unflatten(-1, (1, 16)).mT.contiguous().mT, "v": v.unflatten(-1, (1, 64)), "g": odd}
    assert not lent["q"].is_contiguous() and odd.data_ptr() % 16
    assert addressed._laid(lent["q"], 3) is lent["q"] and addressed._laid(odd, 3) is not odd
    expected = run(recurrence, tensors, {})
    emulated()
    close(run(recurrence, lent, {}), expected, 2e-5)
    lent["g"] = torch.full([], -0.2).expand(tensors["g"].shape)
    close(run(recurrence, lent, {})[:1], run(recurrence, {**tensors, "g": lent["g"].contiguous()}, {})[:1], 1e-7)


@pytest.mark.parametrize("of", ["o", "final"])
def test_what_no_loss_looks_at_has_no_gradient(of, emulated):
    recurrence, size = baton.Recurrence("gla"), SIZES["gla"]
    tensors, states = leaves(recurrence, size, torch.float32)
    expected = run(recurrence, tensors, states, of=of)
    emulated()
    close(run(recurrence, tensors, states, of=of), expected, 2e-5)


def test_other_dtypes_are_converted_and_outputs_are_the_first_ones(emulated):
    recurrence, size = baton.Recurrence("gla"), SIZES["gla"]
    tensors, states = leaves(recurrence, size, torch.float16)
    expected = run(recurrence, tensors, states)
    emulated()
    found = run(recurrence, tensors, states)
    assert found[0]["o"].dtype == torch.float16 and found[0]["final S"].dtype == torch.float32
    close(found, expected, 2e-3)


def test_fake_results_are_as_the_real_ones(emulated):
    recurrence, size = baton.Recurrence("gla"), SIZES["gla"]
    tensors, states = leaves(recurrence, size, torch.bfloat16)
    flat = [tensor.detach().requires_grad_() for tensor in [*tensors.values(), *states.values()]]
    emulated()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.baton.forward.default, (recurrence.text, flat, "S", None), test_utils=checks)


def test_what_is_wrong_is_named(emulated):
    recurrence, size = baton.Recurrence("gla"), SIZES["gla"]
    tensors, states = leaves(recurrence, size, torch.float32)
    emulated()
    layer = baton.torch.Recurrence("gla")
    for changed, exception, said in [
        ({"q": tensors["q"].double()}, TypeError, "`q` holds float64, expected float32, bfloat16 or float16 on `cpu`"),
        ({"k": tensors["k"].int()}, TypeError, "`k` holds int32"),
        ({"k": tensors["k"][:, :3]}, ValueError, "`k` has shape [2, 3, 1, 16], expected [B=2, T=20, H=1, K=16]"),
        ({"initial_state": {"S": states["S"][:1]}}, ValueError, "`S` has shape [1, 1, 16, 64]"),
        ({"cu_seqlens": torch.tensor([0, 20])}, ValueError, "B=2"),
        ({name: tensor[:, :0] for name, tensor in tensors.items()}, ValueError, "2 sequences of T=0"),
        ({"v": tensors["v"][..., :17]}, RuntimeError, "is not among the"),
    ]:
        with pytest.raises(exception) as raised:
            layer(**{**tensors, **changed})
        assert said in str(raised.value), raised.value
    with pytest.raises(ValueError, match="`k` is on `meta`, expected on `cpu` as `q`"):
        addressed.forward(recurrence, [tensors["q"], tensors["k"].to("meta")], "", None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_driver_is_named():
    recurrence = baton.Recurrence("gla")
    with pytest.raises(RuntimeError, match="the library of the NVIDIA driver|there is no GPU 0|driver"):
        baton._baton.Addressed(recurrence, "cuda", 0, False, [[1, 2, 1, 16]] * 2 + [[1, 2, 1, 64], [1, 2, 1, 16]], [None])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="waits for an NVIDIA GPU")
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 3e-2)])
def test_on_a_gpu(name, dtype, tolerance):
    recurrence, size = baton.Recurrence(name), {**SIZES[name], "T": 300}
    tensors, states = leaves(recurrence, size, dtype)
    expected = run(recurrence, tensors, states)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        found = run(recurrence, *({key: x.cuda() for key, x in group.items()} for group in (tensors, states)))
    stream.synchronize()
    close([{key: x.cpu() for key, x in group.items()} for group in found], expected, tolerance)
