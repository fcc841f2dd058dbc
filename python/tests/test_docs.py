"""The page's examples run as they stand, in order; what a block prints is the `text` block behind it."""

import contextlib
import io
import re

import pytest
from support import REPOSITORY

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_docs_python(monkeypatch, tmp_path):
    page = (REPOSITORY / "docs" / "python.md").read_text()
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page)
    scope, printed, ran = {}, "", 0
    for language, text in blocks:
        if language == "python":
            if "torch" in text and not has_torch():
                printed = None
                continue
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, "docs/python.md", "exec"), scope)
            printed, ran = out.getvalue(), ran + 1
        elif language == "text" and printed is not None:
            assert printed.strip() == text.strip()
    assert ran >= 3


def has_torch():
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def test_docstrings_name_every_export():
    import baton

    for name in baton.__all__:
        assert getattr(baton, name).__doc__, name
    assert pytest.importorskip("baton._baton").Recurrence.__module__ == "baton"
