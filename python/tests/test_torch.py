"""The operator of PyTorch: gradients by autograd, traced whole, in every dtype."""

import warnings

import baton
import numpy as np
import pytest
from support import arguments, error, sizes
from test_core import TWO

torch = pytest.importorskip("torch")
import baton.torch  # noqa: E402


def two():
    return baton.Recurrence.from_text(TWO)


def tensors_of(recurrence, rng, size, dtype, sequences=None):
    """Leaves that ask for gradients, strided as a transposed projection leaves them."""

    def leaf(array):
        tensor = torch.tensor(array.tolist(), dtype=dtype).reshape(array.shape)
        return tensor.mT.contiguous().mT.requires_grad_() if tensor.dim() > 1 else tensor.requires_grad_()

    groups = arguments(recurrence, rng, size, np.float64, sequences)
    return [{key: leaf(array) for key, array in group.items()} for group in groups]


def numpy_of(tensors):
    return {key: np.from_dlpack(tensor.detach()) for key, tensor in tensors.items()}


@pytest.mark.parametrize("make", [two, lambda: baton.Recurrence("mamba2"), lambda: baton.Recurrence("mlstm")])
@pytest.mark.parametrize("packed", [False, True])
def test_gradcheck(make, packed):
    recurrence = make()
    run = baton.torch.Recurrence(recurrence)
    size = {"B": 1 if packed else 2, "T": 4, "G": 1, "H": 2, **{dim: 2 + i for i, dim in enumerate(recurrence.dims)}}
    tensors, states = tensors_of(recurrence, np.random.default_rng(1), size, torch.float64, 3 if packed else None)
    offsets = torch.tensor([0, 1, 1, 4]) if packed else None

    def function(*flat):
        given = dict(zip([*tensors, *states], flat))
        initial = {name: given.pop(name) for name in states}
        outputs, final = run(initial_state=initial, output_final_state=True, cu_seqlens=offsets, **given)
        return (*outputs.values(), *final.values())

    assert torch.autograd.gradcheck(function, (*tensors.values(), *states.values()))


@pytest.mark.parametrize("seed", range(4))
def test_autograd_gives_what_the_core_gives(seed):
    rng = np.random.default_rng(seed)
    recurrence = two()
    size = sizes(recurrence, rng)
    tensors, states = tensors_of(recurrence, rng, size, torch.float32)
    if seed % 2:
        states.pop("S")
    run = baton.torch.Recurrence(recurrence)
    outputs, final = run(initial_state=states, output_final_state=True, **tensors)
    truth, pullback = recurrence.vjp(initial_state=numpy_of(states), **numpy_of(tensors))
    arriving = [
        {key: torch.randn(tensor.shape) for key, tensor in group.items()} for group in [outputs, final]
    ]
    if seed > 1:  # a final state that no loss looks at
        arriving[1].pop("z")
    for found, expected in [(outputs, truth.outputs), (final, truth.final_state)]:
        for key in expected:
            np.testing.assert_array_equal(np.from_dlpack(found[key].detach()), expected[key])
    everything = {**outputs, **final}
    heads = {**arriving[0], **arriving[1]}
    torch.autograd.backward([everything[key] for key in heads], list(heads.values()))
    gradients = pullback(*[numpy_of(group) for group in arriving])
    for given, expected in [
        (tensors, {**gradients.inputs, **gradients.params}),
        (states, gradients.initial_state),
    ]:
        for key, tensor in given.items():
            assert error(np.from_dlpack(tensor.grad), expected[key]) < 1e-5, key


@pytest.mark.parametrize("backend, packed", [("aot_eager", True), ("inductor", False)])
def test_compiled_whole(backend, packed):
    recurrence = baton.Recurrence("gla")
    run = baton.torch.Recurrence(recurrence)
    size = {"B": 1 if packed else 2, "T": 21, "H": 2, "K": 4, "V": 8}
    tensors, states = tensors_of(recurrence, np.random.default_rng(3), size, torch.float32, 2 if packed else None)
    offsets = torch.tensor([0, 5, 21]) if packed else None

    def layer(tensors, states):
        gates = torch.nn.functional.logsigmoid(tensors["g"])
        given = {**tensors, "g": gates}
        outputs, final = run(initial_state=states, output_final_state=True, cu_seqlens=offsets, **given)
        return outputs["o"].square().sum() + final["S"].sin().sum()

    leaves = [*tensors.values(), *states.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eager = torch.autograd.grad(layer(tensors, states), leaves)
        compiled = torch.compile(layer, fullgraph=True, backend=backend)(tensors, states)
        compiled = torch.autograd.grad(compiled, leaves)
    for found, expected in zip(compiled, eager):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_operators_are_registered_as_torch_asks(packed):
    recurrence = two()
    size = {"B": 1 if packed else 2, "T": 5, "G": 1, "H": 2, "K": 3, "V": 2}
    tensors, states = tensors_of(recurrence, np.random.default_rng(3), size, torch.float32, 2 if packed else None)
    offsets = torch.tensor([0, 2, 5]) if packed else None
    arguments = (recurrence.text, [*tensors.values(), states["z"]], "z", offsets)
    torch.library.opcheck(torch.ops.baton.forward.default, arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_goes_through_float32(dtype):
    recurrence = baton.Recurrence("gla")
    run = baton.torch.Recurrence(recurrence)
    size = {"B": 2, "T": 9, "H": 2, "K": 4, "V": 3}
    tensors, _ = tensors_of(recurrence, np.random.default_rng(5), size, dtype)
    tensors["g"] = tensors["g"].detach().float().requires_grad_()  # gates in float32, as layers have them
    outputs, final = run(output_final_state=True, **tensors)
    assert outputs["o"].dtype == dtype and final["S"].dtype == torch.float32
    wide = {key: tensor.detach().float().requires_grad_() for key, tensor in tensors.items()}
    expected = run(**wide).outputs["o"]
    assert torch.equal(outputs["o"], expected.to(dtype))
    outputs["o"].float().sum().backward()
    expected.to(dtype).float().sum().backward()
    for key, tensor in tensors.items():
        assert tensor.grad.dtype == tensor.dtype
        assert torch.equal(tensor.grad, wide[key].grad.to(tensor.dtype)), key


def test_what_is_wrong_is_named():
    recurrence = baton.Recurrence("gla")
    run = baton.torch.Recurrence("gla")
    size = {"B": 2, "T": 9, "H": 2, "K": 4, "V": 3}
    tensors, states = tensors_of(recurrence, np.random.default_rng(5), size, torch.float32)
    for changed, exception, said in [
        ({"q": None}, TypeError, "`q` is missing"),
        ({"z": tensors["q"]}, TypeError, "`gla` has no tensor `z`"),
        ({"initial_state": {"Z": states["S"]}}, TypeError, "`initial_state` has no tensor `Z`"),
        ({"q": tensors["q"].double()}, TypeError, "float64"),
        ({"q": tensors["q"].int()}, TypeError, "`q` holds int32"),
        ({"q": 1.0}, TypeError, "`q` is of type `float`"),
        ({"q": tensors["q"].to("meta")}, ValueError, "`q` is on `meta`"),
        ({"k": tensors["k"][:, :3]}, ValueError, "`k` has shape [2, 3, 2, 4], expected [B=2, T=9, H=2, K=4]"),
        ({"cu_seqlens": torch.tensor([0, 9])}, ValueError, "B=2"),
    ]:
        with pytest.raises(exception) as raised:
            run(**{**tensors, **changed})
        assert said in str(raised.value)
    # The core takes tensors too, but not those whose gradients it would lose.
    with pytest.raises(TypeError, match="`q`.*grad"):
        recurrence(**tensors)
    detached = {key: tensor.detach() for key, tensor in tensors.items()}
    ours, theirs = recurrence(**detached).outputs["o"], run(**tensors).outputs["o"]
    np.testing.assert_array_equal(ours, np.from_dlpack(theirs.detach()))


def test_second_derivatives_are_refused():
    recurrence = baton.Recurrence("gla")
    run = baton.torch.Recurrence(recurrence)
    size = {"B": 1, "T": 3, "H": 1, "K": 2, "V": 2}
    tensors, _ = tensors_of(recurrence, np.random.default_rng(5), size, torch.float32)
    (first,) = torch.autograd.grad(run(**tensors).outputs["o"].square().sum(), tensors["q"], create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), tensors["q"])


def test_vmap_is_refused_and_checkpoints_and_determinism_are_not():
    run = baton.torch.Recurrence("gla")
    x = torch.randn(3, 1, 4, 2, 2)

    def layer(x):
        return run(q=x, k=x, v=x, g=-x.abs()).outputs["o"]

    with pytest.raises(NotImplementedError, match="takes no vmap"):
        torch.func.vmap(layer)(x)
    leaf = x[0].clone().requires_grad_()
    (plain,) = torch.autograd.grad(layer(leaf).square().sum(), leaf)
    torch.use_deterministic_algorithms(True)
    try:
        again = torch.utils.checkpoint.checkpoint(layer, leaf, use_reentrant=False)
        assert torch.equal(torch.autograd.grad(again.square().sum(), leaf)[0], plain)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_layer_under_autocast_is_the_layer():
    torch.manual_seed(0)
    run = baton.torch.Recurrence("gla")
    project, x = torch.nn.Linear(8, 3 * 2 * 4), torch.randn(2, 20, 8)
    gates = torch.nn.functional.logsigmoid(torch.randn(2, 20, 2, 4))  # stay in float32

    def layer():
        q, k, v = project(x).unflatten(-1, (3, 2, 4)).unbind(2)
        outputs, final = run(q=q, k=k, v=v, g=gates, output_final_state=True)
        (gradient,) = torch.autograd.grad(outputs["o"].float().square().mean() + final["S"].square().mean(), project.weight)
        return outputs["o"], final["S"], gradient

    exact = layer()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer()
    assert [tensor.dtype for tensor in mixed] == [torch.bfloat16, torch.float32, torch.float32]
    for ours, theirs in zip(mixed, exact):
        assert 0 < (ours.float() - theirs).abs().max() < 0.03 * theirs.abs().max()
