"""Linear recurrences from text: kernels that take a state in and hand a state out, with gradients through both.

    import baton
    gla = baton.Recurrence("gla")
    outputs, final_state = gla(q=q, k=k, v=v, g=g, output_final_state=True)

Arrays are numpy's, or anything on the CPU with ``__dlpack__``; ``baton.torch`` has the same as an operator of PyTorch.
``baton.accelerate(model)`` lets a Mamba model of transformers run on it, ``baton.training`` and ``baton.measures`` are
initial states and measures for such models, ``baton.mamba_ssm`` and ``baton.fla`` have functions by their signatures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._baton import (
    Pullback,
    Recurrence,
    builtins,
    get_num_threads,
    keep_memory,
    set_num_threads,
)
from ._types import Diagnostic, DiagnosticError, Gradients, Port, Run

if TYPE_CHECKING:
    from .transformers import accelerate, restore  # noqa: F401

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "Gradients",
    "Port",
    "Pullback",
    "Recurrence",
    "Run",
    "builtins",
    "get_num_threads",
    "keep_memory",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    # What needs PyTorch is imported when it is first used.
    if name in ("accelerate", "restore"):
        return getattr(import_module("baton.transformers"), name)
    if name in ("fla", "mamba_ssm", "measures", "torch", "training", "transformers"):
        return import_module(f"baton.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
