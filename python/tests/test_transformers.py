"""Models of transformers on Baton: beside their own path, and against the published programs' golden values."""

import copy

import numpy as np
import pytest
from support import REPOSITORY

models = pytest.importorskip("models")
baton = pytest.importorskip("baton")
torch, transformers = models.torch, models.transformers
from baton.transformers import LayerState, ports, stream  # noqa: E402

EVERY = pytest.mark.parametrize("kind", models.KINDS)


def run(model, ids, mask=None):
    model.zero_grad()
    out = model(ids, attention_mask=mask, labels=ids)
    out.loss.backward()
    return out.logits.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_beside_their_own_path(kind, seed):
    rng = np.random.default_rng(seed)
    changed = {
        "conv_kernel": int(rng.integers(2, 5)),
        "state_size": int(rng.integers(1, 20)),
        "use_bias": bool(seed % 2),
    }
    model = models.tiny(kind, seed, **changed)
    model.train(bool(seed % 2))
    ids = models.ids(int(rng.integers(1, 4)), int(rng.integers(1, 70)), seed)
    mask = None
    if seed == 2 and ids.shape[1] > 2:  # padded on the left
        mask = torch.ones_like(ids)
        mask[0, : ids.shape[1] // 2] = 0
    expected, gradients = run(model, ids, mask)
    assert baton.accelerate(model) is model
    logits, ours = run(model, ids, mask)
    assert (logits - expected).abs().max() < 2e-5
    for name, gradient in gradients.items():
        assert (ours[name] - gradient).abs().max() < 1e-4 * max(1.0, gradient.abs().max().item()), name
    assert baton.restore(model) is model
    again, _ = run(model, ids, mask)
    assert torch.equal(again, expected)


@EVERY
def test_generation_token_for_token(kind):
    model = models.tiny(kind).eval()
    ids = models.ids(3, 9)
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    ways = [
        {"do_sample": False},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": False, "use_cache": False},
        {"do_sample": True},
    ]

    def generate():
        found = []
        for options in ways:
            torch.manual_seed(1)
            found.append(model.generate(ids, attention_mask=mask, max_new_tokens=12, **options))
        return found

    expected = generate()
    baton.accelerate(model)
    for ours, theirs in zip(generate(), expected):
        assert torch.equal(ours, theirs)


@EVERY
def test_a_cache_is_continued_with_several_tokens(kind):
    model = baton.accelerate(models.tiny(kind).eval())
    ids = models.ids(2, 20)
    with torch.no_grad():
        whole = model(ids).logits
        first = model(ids[:, :7], use_cache=True)
        second = model(ids[:, 7:15], cache_params=first.cache_params, use_cache=True)
        third = model(ids[:, 15:], cache_params=second.cache_params, use_cache=True)
    parts = torch.cat([first.logits, second.logits, third.logits], 1)
    assert (parts - whole).abs().max() < 2e-5


@EVERY
def test_saved_files_and_copies_are_untouched(kind, tmp_path):
    model = models.tiny(kind).eval()
    model.save_pretrained(tmp_path / "before")
    baton.accelerate(model)
    model.save_pretrained(tmp_path / "after")
    names = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "after").iterdir())
    for name in names:
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes(), name
    ids = models.ids(1, 6)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        next(copied.parameters()).add_(1.0)
        assert not torch.equal(copied(ids).logits, model(ids).logits)
    loaded = type(model).from_pretrained(tmp_path / "after").eval()
    assert not hasattr(next(m for m in loaded.modules() if hasattr(m, "A_log")), "baton_port")
    with torch.no_grad():
        assert (loaded(ids).logits - model(ids).logits).abs().max() < 2e-5


@pytest.mark.parametrize("name", ["mamba2_hf", "mamba1_hf", "falcon_mamba_hf"])
def test_published_programs_and_the_gradients_of_initial_states(name):
    from safetensors.torch import load_file

    folder = REPOSITORY / "train" / "tests" / "golden"
    golden = load_file(folder / f"{name}_golden.safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32).train()
    baton.accelerate(model)
    every = ports(model)
    ids = golden["input_ids"].long()

    def ours(state):
        """Of Mamba-2 the files have [P, N], the recurrence [N, P]."""
        return state.float().transpose(-1, -2) if state.dim() == 4 else state.float()

    assert (model(ids, use_cache=False).logits.double() - golden["logits_f64"]).abs().max() < 2e-5
    given = [ours(golden[f"rand_h0.{i}"]).clone().requires_grad_() for i in range(len(every))]
    for port, state in zip(every, given):
        port.begin(LayerState(state), True)
    logits = model(ids, use_cache=False).logits
    expected = golden.get("rand_h0.logits_f64", golden.get("rand_h0.logits"))
    assert (logits.double() - expected).abs().max() < 3e-5
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    for i, (port, state) in enumerate(zip(every, given)):
        final = ours(golden[f"rand_h0.final.ssm.{i}"])
        assert (port.final.recurrence - final).abs().max() < 2e-5 * max(1.0, final.abs().max().item())
        assert torch.allclose(port.final.conv, golden[f"rand_h0.final.conv.{i}"].float(), atol=2e-5)
        if f"rand_h0.grad.{i}" in golden:
            gradient = ours(golden[f"rand_h0.grad.{i}"])
            assert (state.grad - gradient).abs().max() < 1e-4 * gradient.abs().max()


@EVERY
def test_segments_are_seen_by_no_one(kind):
    model = baton.accelerate(models.tiny(kind))
    ids = models.ids(2, 23)
    whole, end = stream(model, None, input_ids=ids)
    states, logits = None, []
    for first, last in [(0, 1), (1, 3), (3, 12), (12, 23)]:
        out, states = stream(model, states, input_ids=ids[:, first:last])
        logits.append(out.logits)
    assert (torch.cat(logits, 1) - whole.logits).abs().max() < 2e-5
    for one, other in zip(end, states):
        assert torch.allclose(one.recurrence, other.recurrence, atol=1e-5) and torch.allclose(
            one.conv, other.conv, atol=1e-5
        )
    assert model.training and all(port.streamed is None for port in ports(model))


@EVERY
def test_bfloat16_autocast_and_compilation(kind):
    model = models.tiny(kind).eval()
    ids = models.ids(2, 16)
    with torch.no_grad():
        exact = model(ids).logits
        low = baton.accelerate(copy.deepcopy(model).bfloat16())(ids).logits
        assert (low - exact).abs().max() < 0.1 * exact.abs().max()
        baton.accelerate(model)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(ids, use_cache=False).logits
        assert (mixed.float() - exact).abs().max() < 0.1 * exact.abs().max()
        compiled = torch.compile(model, backend="aot_eager")
        assert (compiled(ids, use_cache=False).logits - exact).abs().max() < 2e-5


def test_what_cannot_run_is_refused_by_name():
    bamba = transformers.BambaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        mamba_n_heads=4, mamba_d_head=8, mamba_d_state=4, mamba_expand=2, attn_layer_indices=[],
    )  # fmt: skip
    for model, said in [
        (torch.nn.Linear(2, 2), "`Linear` has none of the layers"),
        (transformers.BambaForCausalLM(bamba), "layers of `BambaMixer` in `BambaForCausalLM`"),
        (models.tiny("mamba").to("meta"), "is on `meta`, expected on the CPU"),
        (models.tiny("mamba2", time_step_limit=(0.0, 1.0)), r"time_step_limit \(0.0, 1.0\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            baton.accelerate(model)
        assert not any(hasattr(module, "baton_port") for module in model.modules())
    model = baton.accelerate(models.tiny("mamba2"))
    with pytest.raises(ValueError, match="`seq_idx` given"):
        model.backbone.layers[0].mixer(torch.zeros(1, 4, 16), seq_idx=torch.zeros(1, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match="no state ports"):
        ports(models.tiny("mamba"))
