"""The page's examples run as they stand, in order; what a block prints is the `text` block behind it, numbers with a
point within a tenth."""

import contextlib
import importlib.util
import io
import json
import re

import pytest
from support import REPOSITORY

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")


def test_docs_python(monkeypatch, tmp_path):
    page = (REPOSITORY / "docs" / "python.md").read_text()
    monkeypatch.chdir(tmp_path)
    if has("transformers"):
        exported(tmp_path / "base")
    scope, printed, ran = {}, "", 0
    for language, text in BLOCK.findall(page):
        if language == "python":
            needs = [name for name in ("torch", "transformers", "matplotlib") if re.search(rf"\b{name}\b|plain", text)]
            if not all(map(has, needs)):
                printed = None
                continue
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, "docs/python.md", "exec"), scope)
            printed, ran = out.getvalue(), ran + 1
        elif language == "text" and printed is not None:
            assert NUMBER.sub("#", printed.strip()) == NUMBER.sub("#", text.strip()), printed
            for found, expected in zip(NUMBER.findall(printed), NUMBER.findall(text)):
                assert abs(float(found) - float(expected)) <= 0.1 * float(expected), printed
    assert ran >= 3


def has(name):
    return importlib.util.find_spec(name) is not None


def exported(folder):
    """A kept checkpoint in transformers' layout, as `baton convert` writes it: names are the same, the configuration is not."""
    import transformers
    from safetensors.torch import load_file

    kept = REPOSITORY / "checkpoints" / "mamba2-64" / "base"
    sizes = json.loads((kept / "config.json").read_text())["model"]
    block = sizes.pop("block")
    names = ("expand", "head_dim", "state_size", "n_groups", "conv_kernel")
    heads = sizes["hidden_size"] * block["expand"] // block["head_dim"]
    config = transformers.Mamba2Config(
        **sizes, **{name: block[name] for name in names}, num_heads=heads, tie_word_embeddings=True
    )
    model = transformers.Mamba2ForCausalLM(config)
    left = model.load_state_dict(load_file(kept / "model.safetensors"), strict=False)
    assert not left.unexpected_keys and left.missing_keys in ([], ["lm_head.weight"])
    model.tie_weights()
    model.save_pretrained(folder)


def test_docstrings_name_every_export():
    import baton

    for name in baton.__all__:
        assert getattr(baton, name).__doc__, name
    assert pytest.importorskip("baton._baton").Recurrence.__module__ == "baton"


def test_the_table_of_speed_is_what_was_measured():
    benches = REPOSITORY / "python" / "benches"
    spec = importlib.util.spec_from_file_location("benches_models", benches / "models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    page = models.PAGE.read_text()
    assert page.count(models.MARKS[0]) == page.count(models.MARKS[1]) == 1
    if not models.RESULTS.exists():
        pytest.skip("the table is of an earlier form of the program: python/benches/models.py --write")
    table = page.partition(models.MARKS[0])[2].partition(models.MARKS[1])[0]
    assert table == models.table(json.loads(models.RESULTS.read_text()))
