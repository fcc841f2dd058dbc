"""Policies as they are written: a line, JSON, or a dict of the same form (docs/training.md). What has no default in
the literature, the deviation of random noise, has to be given; a name that there is not is an error."""

from __future__ import annotations

import json
import math
from typing import Any, Callable, Union

from .policies import After, FittedNoise, Layers, Mixed, Noise, Policy, StatePassing, TruncatedBptt, WarmUp

#: The options of every policy of its own; `...` is one that must be given.
OPTIONS: dict[str, dict[str, Any]] = {
    "zero": {},
    "noise": {"std": ..., "p_zero": 0.1},
    "fitted_noise": {"momentum": 0.99, "fit": 4, "p_zero": 0.1},
    "state_passing": {"p_zero": 0.1, "conv": "zero"},
    "truncated_bptt": {"p_zero": 0.0, "conv": "zero"},
}
_MADE_OF_OTHERS: dict[str, dict[str, Any]] = {
    "mixed": {"of": ...},
    "warm_up": {"steps": ..., "policy": ...},
    "after": {"step": ..., "policy": ...},
    "layers": {"of": ...},
}
_MAKERS: dict[str, Callable[..., Policy]] = {
    "zero": Policy,
    "noise": Noise,
    "fitted_noise": FittedNoise,
    "state_passing": StatePassing,
    "truncated_bptt": TruncatedBptt,
}


def parsed(given: Union[str, dict[str, Any]]) -> dict[str, Any]:
    """The dict of a line or of JSON."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as why:
            raise ValueError(f"an initial state in JSON given: {why}") from None
    terms = [term.strip() for term in text.split("+")]
    if len(terms) == 1 and "*" not in text:
        return _line(text)
    shares = []
    for term in terms:
        weight, name = term.split("*", 1) if "*" in term else ("1", term)
        shares.append({"weight": _number(term, "weight", weight, float), "policy": _line(name.strip())})
    return {"type": "mixed", "of": shares}


def built(config: dict[str, Any], layers: int) -> Policy:
    """The policy, for a model of so many layers."""
    if not isinstance(config, dict) or "type" not in config:
        raise ValueError(f"{config!r} given as an initial state, expected a line or a dict with `type`")
    kind = config["type"]
    known = {**OPTIONS, **_MADE_OF_OTHERS}.get(kind)
    if known is None:
        raise ValueError(f"the initial state `{kind}` given, expected {', '.join([*OPTIONS, *_MADE_OF_OTHERS])}")
    options = {key: value for key, value in config.items() if key != "type"}
    _named(kind, options, known)
    options = {**known, **options}
    if kind == "mixed":
        return _mixed(options["of"], layers)
    if kind == "layers":
        return _by_layers(options["of"], layers)
    if kind in ("warm_up", "after"):
        count = options["steps" if kind == "warm_up" else "step"]
        _within(f"of {kind}", count, isinstance(count, int) and count >= 0, "a number of steps")
        policy = built(options["policy"], layers)
        return WarmUp(count, policy) if kind == "warm_up" else After(count, policy)
    for key in options:
        value = options[key]
        real = isinstance(value, (int, float)) and math.isfinite(value)
        fits, expected = {
            "std": (real and value >= 0, "a standard deviation"),
            "p_zero": (real and 0 <= value <= 1, "a probability"),
            "momentum": (real and 0 <= value < 1, "at least 0 and less than 1"),
            "fit": (isinstance(value, int) and value >= 0, "a number of batches"),
            "conv": (value in ("zero", "carried"), "zero or carried"),
        }[key]
        _within(key, value, fits, expected)
    return _MAKERS[kind](**options)


def _within(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(f"{key} {value!r} given, expected {expected}")


def _named(kind: str, options: dict[str, Any], known: dict[str, Any]) -> None:
    for key in options:
        if key not in known:
            raise ValueError(f"`{key}` given for `{kind}`, expected of {', '.join(known) or 'no options'}")
    for key, default in known.items():
        if default is ... and key not in options:
            raise ValueError(f"`{kind}` given without `{key}`, which has no default")


def _mixed(shares: Any, layers: int) -> Policy:
    for share in shares:
        _named("mixed", share, {"weight": ..., "policy": ...})
    weights = [share["weight"] for share in shares]
    fits = bool(weights) and all(0 <= w < math.inf for w in weights) and sum(weights) > 0
    _within("weights", weights, fits, "none below 0 and a sum above it")
    return Mixed(weights, [built(share["policy"], layers) for share in shares])


def _by_layers(some: Any, layers: int) -> Policy:
    seen: set[int] = set()
    for part in some:
        _named("layers", part, {"layers": ..., "policy": ...})
        for layer in part["layers"]:
            _within("layer", layer, layer in range(layers), f"one of the model's {layers} from 0")
            _within("layer", layer, layer not in seen, "one initial state for a layer")
            seen.add(layer)
    return Layers([list(part["layers"]) for part in some], [built(part["policy"], layers) for part in some])


def _number(of: str, key: str, value: str, kind: type) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"`{value}` given as {key} in `{of}`, expected a number") from None


def _ranges(of: str, text: str) -> list[int]:
    layers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            ends = int(first), int(last or first)
        except ValueError:
            ends = 1, 0
        if not 0 <= ends[0] <= ends[1] < 1 << 16:
            raise ValueError(f"`{part}` given as layers in `{of}`, expected numbers or ranges as 0-3,5")
        layers.extend(range(ends[0], ends[1] + 1))
    return layers


def _line(text: str) -> dict[str, Any]:
    """One policy; what has no `=` continues the value before it."""
    name, colon, rest = text.partition(":")
    kind = name.strip().replace("-", "_")
    kind = "truncated_bptt" if kind == "tbptt" else kind
    if kind not in OPTIONS:
        raise ValueError(f"the initial state `{name.strip()}` given, expected {', '.join(OPTIONS)}")
    given: dict[str, str] = {}
    last = None
    for item in rest.split(",") if colon else []:
        key, equals, value = item.partition("=")
        if equals:
            last = key.strip()
            if last in given or last not in {*OPTIONS[kind], "layers", "warmup", "after"}:
                known = ", ".join([*OPTIONS[kind], "layers", "warmup", "after"])
                raise ValueError(f"`{last}` given in `{text}`, expected of {known}, each once")
            given[last] = value.strip()
        elif last is None:
            raise ValueError(f"`{item}` given in `{text}`, expected NAME=VALUE")
        else:
            given[last] += "," + item.strip()
    config: dict[str, Any] = {"type": kind}
    for key in OPTIONS[kind]:
        if key in given:
            number = int if key == "fit" else float
            config[key] = given[key] if key == "conv" else _number(text, key, given[key], number)
    if "layers" in given:
        config = {"type": "layers", "of": [{"layers": _ranges(text, given["layers"]), "policy": config}]}
    for key, kind, count in [("warmup", "warm_up", "steps"), ("after", "after", "step")]:
        steps = _number(text, key, given.get(key, "0"), int)
        if steps:
            config = {"type": kind, count: steps, "policy": config}
    return config
