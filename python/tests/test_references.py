"""The functions by other packages' signatures beside these packages: their signatures as they are, and the values and gradients
of their references in plain PyTorch, which run on the CPU (in float32)."""

import importlib
import inspect
import subprocess
import sys
import types
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("fla")
from baton import fla as ours  # noqa: E402
from baton import mamba_ssm as ours_ssm  # noqa: E402

B, T, H, K, V = 2, 64, 3, 8, 6


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def gate(*shape):
    return torch.nn.functional.logsigmoid(draw(*shape, seed=5) + 2)


def their(name):
    """A function of flash-linear-attention's operators, by the room that it is in."""
    folder = {
        "gdn": "gated_delta_rule",
        "rwkv6": "rwkv6",
        "dplr_delta_rule": "generalized_delta_rule",
        "iplr_delta_rule": "generalized_delta_rule",
    }
    member = name.removeprefix("chunk_").removeprefix("fused_recurrent_")
    return getattr(importlib.import_module(f"fla.ops.{folder.get(member, member)}"), name)


def parameters(function):
    found = inspect.signature(inspect.unwrap(function)).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", ours.__all__)
def test_signatures_of_flash_linear_attention(name):
    assert parameters(getattr(ours, name)) == parameters(their(name))


def tensors(**shapes):
    made = {name: (gate if name.startswith("g") else draw)(*shape) for name, shape in shapes.items()}
    if "beta" in made:
        made["beta"] = made["beta"].sigmoid()
    if "k" in made and "beta" in made:
        made["k"] = torch.nn.functional.normalize(made["k"], dim=-1)
    return made


def swapped(function, *names):
    """A reference that has heads before steps in some tensors, and then in what it gives."""
    if not names:
        return function

    def call(**given):
        out, *rest = function(**{key: x.transpose(1, 2) if key in names else x for key, x in given.items()})
        return (out.transpose(1, 2), *rest)

    return call


# Our function, the room and name of the reference, shapes of tensors, further arguments, whether heads come first there.
QKV = {"q": (B, T, H, K), "k": (B, T, H, K), "v": (B, T, H, V)}
STATE = {"initial_state": (B, H, K, V)}
HEADS = (B, T, H)
REFERENCES = [
    ("fused_recurrent_gla", "gla", "naive_recurrent_gla", {**QKV, "gk": (B, T, H, K), **STATE}, {}, ()),
    ("chunk_simple_gla", "simple_gla", "naive_recurrent_simple_gla", {**QKV, "g": HEADS, **STATE}, {"scale": 0.3}, ()),
    ("chunk_delta_rule", "delta_rule", "delta_rule_recurrence", {**QKV, "beta": HEADS, **STATE}, {}, ("q", "k", "v", "beta")),
    (
        "chunk_gated_delta_rule",
        "gated_delta_rule",
        "naive_recurrent_gated_delta_rule",
        {**QKV, "g": HEADS, "beta": HEADS, **STATE},
        {"scale": 0.7},
        (),
    ),
    ("chunk_kda", "kda", "naive_recurrent_kda", {**QKV, "g": (B, T, H, K), "beta": HEADS, **STATE}, {"scale": 0.7}, ()),
    # The recurrent reference decays before it reads, unlike both kernels; the chunked one does as they do.
    ("chunk_comba", "comba", "naive_chunk_comba", {**QKV, "p": (B, T, H, K), "g": HEADS, "beta": HEADS, **STATE}, {}, ()),
    ("chunk_linear_attn", "linear_attn", "naive_recurrent_linear_attn", QKV | STATE, {"normalize": False, "scale": 0.4}, ()),
    ("chunk_hgrn", "hgrn", "naive_recurrent_hgrn", {"x": (B, T, K), "g": (B, T, K), "initial_state": (B, K)}, {}, ()),
    ("fused_recurrent_hgrn", "hgrn", "naive_recurrent_hgrn", {"x": (B, T, K), "g": (B, T, K), "initial_state": (B, K)}, {}, ()),
]


@pytest.mark.parametrize("name, room, reference, shapes, options, heads_first", REFERENCES, ids=[row[0] for row in REFERENCES])
def test_references_of_flash_linear_attention(name, room, reference, shapes, options, heads_first):
    theirs = getattr(importlib.import_module(f"fla.ops.{room}.naive"), reference)
    compare(getattr(ours, name), swapped(theirs, *heads_first), tensors(**shapes), {**options, "output_final_state": True})


def compare(ours, theirs, given, options):
    """Results and gradients of both, from all results."""
    results = []
    for function in (ours, theirs):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        found = [result for result in function(**leaves, **options) if result is not None]
        heads = [draw(*result.shape, seed=9) for result in found]
        loss = sum((result.float() * head).sum() for result, head in zip(found, heads))
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        results.append([*found, *gradients])
    for one, other in zip(*results, strict=True):
        if one is not None and other is not None:
            assert (one - other).abs().max() < 5e-5 * max(1.0, other.abs().max().item())


def test_retention_is_the_reference():
    from fla.ops.retention.naive import naive_retention

    given = {name: draw(B, T, H, K, seed=i) for i, name in enumerate("qkv")}
    found, _ = ours.chunk_retention(**given)
    expected = naive_retention(**{name: tensor.transpose(1, 2) for name, tensor in given.items()}).transpose(1, 2)
    assert (found - expected).abs().max() < 5e-5


@pytest.fixture(scope="module")
def mamba_ssm():
    """Its operators' modules: the package itself asks for a compiled extension, which no reference runs."""
    spec = find_spec("mamba_ssm")
    if spec is None:
        pytest.skip("mamba_ssm is not installed")
    package = types.ModuleType("mamba_ssm")
    package.__path__ = list(spec.submodule_search_locations)
    before = dict(sys.modules)
    sys.modules.update(mamba_ssm=package, selective_scan_cuda=types.ModuleType("selective_scan_cuda"))
    yield lambda module: importlib.import_module(f"mamba_ssm.{module}")
    for name in set(sys.modules) - set(before):
        if name.split(".")[0] in ("mamba_ssm", "selective_scan_cuda"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name, module",
    [
        ("mamba_chunk_scan_combined", "ops.triton.ssd_combined"),
        ("selective_scan_fn", "ops.selective_scan_interface"),
        ("selective_state_update", "ops.triton.selective_state_update"),
        ("mamba3_siso_combined", "ops.triton.mamba3.mamba3_siso_combined"),
    ],
)
def test_signatures_of_mamba_ssm(mamba_ssm, name, module):
    found = [p for p in parameters(getattr(ours_ssm, name)) if p[0] != "initial_state"]
    assert found == parameters(getattr(mamba_ssm(module), name))


@pytest.mark.parametrize("constant", ["", "B", "C", "BC"])
@pytest.mark.parametrize("groups", [0, 1, 2])
def test_the_reference_of_the_selective_scan(mamba_ssm, groups, constant):
    D, N = 4, 5
    shared = (B, N, T) if groups == 0 else (B, groups, N, T)
    of = {name: (D, N) if name in constant else shared for name in "BC"}
    given = {"u": draw(B, D, T), "delta": draw(B, D, T, seed=1), "A": -draw(D, N).exp(), "B": draw(*of["B"]), "C": draw(*of["C"], seed=2)}
    given |= {"D": draw(D), "z": draw(B, D, T, seed=3), "delta_bias": draw(D, seed=1)}
    theirs = mamba_ssm("ops.selective_scan_interface").selective_scan_ref
    compare(ours_ssm.selective_scan_fn, theirs, given, {"delta_softplus": True, "return_last_state": True})


def test_the_reference_of_the_combined_scan(mamba_ssm):
    """Discretised before, as the reference has it: A dt is its A, and dt x its x."""
    theirs = mamba_ssm("modules.ssd_minimal").ssd_minimal_discrete
    N = 5
    given = {"x": draw(B, T, H, V), "dt": draw(B, T, H).sigmoid(), "A": -draw(H).exp(), "B": draw(B, T, H, N)}
    given |= {"C": draw(B, T, H, N, seed=1), "initial_states": draw(B, H, V, N)}

    def reference(x, dt, A, B, C, initial_states):
        return theirs(x * dt[..., None], A * dt, B, C, 16, initial_states[:, None])

    def combined(**given):
        return ours_ssm.mamba_chunk_scan_combined(**given, chunk_size=16, return_final_states=True)

    compare(combined, reference, given, {})


def test_the_kernels_of_the_combined_scan():
    # By what is installed: another test's module stands in this process for the package.
    try:
        version("mamba_ssm")
    except PackageNotFoundError:
        pytest.skip("mamba_ssm is not installed")
    program = Path(__file__).with_name("interpreted.py")
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("heads", [False, True])
def test_the_reference_of_one_step(mamba_ssm, heads):
    theirs = mamba_ssm("ops.triton.selective_state_update").selective_state_update_ref
    N, width = 5, (H, K) if heads else (K,)
    shared = (B, 1, N) if heads else (B, N)
    given = [draw(B, *width), draw(B, *width, seed=1), -draw(*width, N).exp(), draw(*shared), draw(*shared, seed=1)]
    given += [draw(*width), draw(B, *width, seed=2), draw(*width, seed=3)]
    states = [draw(B, *width, N).clone() for _ in range(2)]
    found = ours_ssm.selective_state_update(states[0], *given, dt_softplus=True)
    expected = theirs(states[1], *given, dt_softplus=True)
    assert torch.allclose(found, expected, atol=1e-5) and torch.allclose(states[0], states[1], atol=1e-5)
