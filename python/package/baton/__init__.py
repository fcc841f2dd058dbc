"""Linear recurrences from text: kernels that take a state in and hand a state out, with gradients through both.

    import baton
    gla = baton.Recurrence("gla")
    outputs, final_state = gla(q=q, k=k, v=v, g=g, output_final_state=True)

Arrays are numpy's, or anything on the CPU with ``__dlpack__``; ``baton.torch`` has the same as an operator of PyTorch.
"""

from ._baton import (
    Pullback,
    Recurrence,
    builtins,
    get_num_threads,
    keep_memory,
    set_num_threads,
)
from ._types import Diagnostic, DiagnosticError, Gradients, Port, Run

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
