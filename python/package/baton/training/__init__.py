"""Initial states in training, the interventions of docs/training.md, on models of transformers.

    states = baton.training.InitialStates(model, "state_passing")
    for batch in batches:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        states.step()

or, with transformers' own loop, ``Trainer(..., callbacks=[baton.training.InitialStatesCallback("state_passing")])``.
"""

from typing import Any

from .segments import segments
from .states import InitialStates

__all__ = ["InitialStates", "InitialStatesCallback", "segments"]


def __getattr__(name: str) -> Any:
    # transformers' trainer takes seconds to import.
    if name == "InitialStatesCallback":
        from .callback import InitialStatesCallback

        return InitialStatesCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
