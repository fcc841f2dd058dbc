"""Tiny models of transformers with random weights, for the tests of what runs on them."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

KINDS = {
    "mamba2": (
        transformers.Mamba2ForCausalLM,
        transformers.Mamba2Config,
        {"num_heads": 4, "head_dim": 8, "n_groups": 2, "expand": 2},
    ),
    "mamba": (transformers.MambaForCausalLM, transformers.MambaConfig, {}),
    "falcon_mamba": (transformers.FalconMambaForCausalLM, transformers.FalconMambaConfig, {}),
}
SIZES = {"vocab_size": 61, "hidden_size": 16, "state_size": 8, "num_hidden_layers": 2}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def tiny(kind, seed=0, **changed):
    """A model whose states matter: weights are larger than they begin."""
    model, config, own = KINDS[kind]
    torch.manual_seed(seed)
    made = model(config(**{**SIZES, **TOKENS, **own, **changed}))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def ids(batch, length, seed=0):
    return torch.randint(3, SIZES["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))
