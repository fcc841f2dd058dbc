"""Models of transformers on Baton: `accelerate` lets a loaded model's layers run on it, `restore` undoes that, and
`ports` and `stream` are the states in and out.

Only the forward of the model's mixers is replaced, on the instances: weights, configuration, saved files and every
other class stay as they are.
"""

from __future__ import annotations

from types import MethodType
from typing import TypeVar

from torch import nn

from .mixers import MIXERS
from .ports import LayerState, Port, States, ports, stream, unwrapped

__all__ = ["LayerState", "Port", "States", "accelerate", "ports", "restore", "stream", "unwrapped"]

Model = TypeVar("Model", bound=nn.Module)


def accelerate(model: Model) -> Model:
    """Makes the layers of a model of transformers run on Baton: training, prefill and cached generation.

    Mamba, Mamba-2 and Falcon-Mamba; anything else is refused by name, and the model is as before. Gives the model back.
    """
    inner = unwrapped(model)
    mixers = [module for module in inner.modules() if hasattr(module, "A_log")]
    found = []
    for mixer in mixers:
        name = next((c.__name__ for c in type(mixer).__mro__ if c.__name__ in MIXERS), None)
        if name is None:
            raise ValueError(
                f"layers of `{type(mixer).__name__}` in `{type(inner).__name__}` cannot run on Baton, only those of "
                f"{', '.join(MIXERS)}"
            )
        _check(mixer)
        found.append((mixer, name))
    if not found:
        raise ValueError(f"`{type(inner).__name__}` has none of the layers that run on Baton: {', '.join(MIXERS)}")
    for mixer, name in found:
        if not hasattr(mixer, "baton_port"):
            forward, port = MIXERS[name]
            mixer.baton_port = port(mixer)
            mixer.forward = MethodType(forward, mixer)
    return model


def restore(model: Model) -> Model:
    """Undoes `accelerate`; a model that is not accelerated stays as it is."""
    for module in unwrapped(model).modules():
        if "baton_port" in module.__dict__:
            module.baton_port.taken(None)
            del module.baton_port, module.forward
    return model


def _check(mixer: nn.Module) -> None:
    kind = type(mixer).__name__
    for name, tensor in [*mixer.named_parameters(), *mixer.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ValueError(f"`{name}` of a `{kind}` is on `{tensor.device}`, expected on the CPU")
        if not tensor.is_floating_point():
            raise ValueError(
                f"`{name}` of a `{kind}` holds {tensor.dtype}, expected floats: quantised layers cannot run"
            )
    if any(hasattr(module, "_hf_hook") for module in mixer.modules()):
        raise ValueError(f"a `{kind}` has weights that are offloaded, expected all of them in memory")
    limit = tuple(getattr(mixer, "time_step_limit", (0.0, float("inf"))))
    if limit != (0.0, float("inf")):
        raise ValueError(f"time_step_limit {limit} of a `{kind}` given, expected (0.0, inf)")
