"""Ten thousand calls that are wrong at random: each is right after all or one exception, and the interpreter lives."""

import baton
import numpy as np

RIGHT = (TypeError, ValueError, MemoryError)
TEXT = "recurrence r { dims { K, V } inputs { q: [K], k: [K], v: [V], g: [] } params { d: [V] } state { S: [K, V], z: [K] } "
TEXT += "S = exp(g) * S + outer(k, v); z = sigmoid(g) * z + k; output o: [V] = dot(q, S) + d * v; output n: [] = dot(q, z); }"
TWO = baton.Recurrence.from_text(TEXT)
SIZE = {"B": 2, "T": 5, "H": 2, "K": 3, "V": 2}
KEYS = ["q", "k", "v", "g", "d"]


class Odd:
    """Whatever is asked of it is an error, or nonsense."""

    def __init__(self, rng):
        self.rng = rng

    def __getattr__(self, name):
        if name.startswith("__array") or self.rng.random() < 0.5:
            raise AttributeError(name)
        return lambda *_, **__: (1, 0)

    def __len__(self):
        return int(self.rng.integers(0, 3))

    def __getitem__(self, _):
        raise IndexError


def right():
    shapes = {port.name: port.layout for port in TWO.inputs + TWO.params + TWO.states}
    return {name: np.full([SIZE[symbol] for symbol in layout], 0.1, np.float32) for name, layout in shapes.items()}


def wrong(rng, array):
    """Something in the place of an array."""
    kind = int(rng.integers(0, 14))
    if kind == 0:
        return None
    if kind == 1:
        return array.astype(rng.choice(["f8", "f2", "i4", "u1", "c8", "bool", "O", ">f4", "U3"]))
    if kind == 2:
        return rng.choice(["", "q", "0"])
    if kind == 3:
        return array[..., None] if rng.random() < 0.5 else array[0]
    if kind == 4:
        shape = list(array.shape)
        shape[int(rng.integers(0, len(shape)))] = int(rng.integers(0, 5))
        return np.zeros(shape, np.float32)
    if kind == 5:
        return array[tuple(slice(None, None, int(rng.choice([-1, 1, 2]))) for _ in array.shape)]
    if kind == 6:
        return array.T
    if kind == 7:
        return np.broadcast_to(
            np.float32(0), [int(rng.choice([0, 1, 3, 2**31, 2**40])) for _ in array.shape[:1]] + list(array.shape[1:])
        )
    if kind == 8:
        return array.tolist()
    if kind == 9:
        return Odd(rng)
    if kind == 10:
        return float(rng.normal())
    if kind == 11:
        return np.frombuffer(bytearray(array.nbytes + 1), np.uint8)[1:].view(np.float32).reshape(array.shape)
    if kind == 12:
        return np.full_like(array, rng.choice([np.nan, np.inf, 1e38]))
    return {"q": array}


def offsets(rng):
    kind = int(rng.integers(0, 6))
    if kind < 3:
        return rng.integers(-3, 8, int(rng.integers(0, 6))).astype(rng.choice(["i4", "i8", "u2", "f4"]))
    return [None, "all", [[0, 5]], np.nan, [0, 2**70], [0.0, np.nan], Odd(rng)][int(rng.integers(0, 7))]


def test_ten_thousand_ill_calls():
    rng = np.random.default_rng(1)
    raised = ran = 0
    for _ in range(10_000):
        given = right()
        states = {name: given.pop(name) for name in ("S", "z")}
        call = [TWO, TWO.vjp, TWO.backward][int(rng.integers(0, 3))]
        for _ in range(int(rng.integers(1, 4))):
            which = int(rng.integers(0, 9))
            if which < 5:
                given[KEYS[which]] = wrong(rng, right()[KEYS[which]])
            elif which == 5:
                given["initial_state"] = {**states, str(rng.choice(["S", "z", "y"])): wrong(rng, states["S"])}
            elif which == 6:
                given["initial_state"] = wrong(rng, states["S"])
            elif which == 7:
                given["cu_seqlens"] = offsets(rng)
            elif call is TWO.backward:
                given["d_outputs"] = {str(rng.choice(["o", "n", "q"])): wrong(rng, right()["v"])}
        try:
            run = call(**given)
            if call is TWO.vjp:
                run[1]({"o": wrong(rng, right()["v"])}, None)
            ran += 1
        except RIGHT as why:
            assert str(why) and "a fault of Baton" not in str(why), (call, given)
            raised += 1
    assert raised > 5000 and ran > 50


def test_texts_that_are_wrong_at_random():
    rng = np.random.default_rng(2)
    for _ in range(2000):
        text = list(TEXT)
        for _ in range(int(rng.integers(1, 4))):
            at, much = int(rng.integers(0, len(text))), int(rng.integers(0, 9))
            text[at : at + much] = list(rng.choice(list("(){}[],;:=*+-/ qSKé\n\0" + TEXT), int(rng.integers(0, 5))))
        try:
            baton.Recurrence.from_text("".join(text))
        except ValueError as why:
            assert isinstance(why, baton.DiagnosticError) and why.line >= 1
