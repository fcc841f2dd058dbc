"""Whatever is given, one exception that names the tensor, what was given and what was expected; never an abort."""

import pickle

import baton
import numpy as np
import pytest
from support import arguments, sizes

GLA = baton.Recurrence("gla")
SIZE = {"B": 2, "T": 6, "H": 3, "K": 4, "V": 5}
TENSORS, STATES = arguments(GLA, np.random.default_rng(0), SIZE)


class Foreign:
    """Says that it is a tensor and is none."""

    def __dlpack__(self, **_):
        raise BufferError("on another device")

    def __dlpack_device__(self):
        return (2, 0)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    "changed, exception, said",
    [
        ({"q": None}, TypeError, ["`q` [B, T, H, K] is missing", "q, k, v, g"]),
        ({"z": zeros(1)}, TypeError, ["`gla` has no tensor `z`", "q, k, v, g"]),
        ({"q": zeros(2, 6, 3)}, ValueError, ["`q`", "[2, 6, 3]", "[B, T, H, K]"]),
        ({"k": zeros(2, 6, 3, 7)}, ValueError, ["`k`", "[2, 6, 3, 7]", "[B=2, T=6, H=3, K=4]"]),
        ({"v": zeros(2, 5, 3, 5)}, ValueError, ["`v`", "[2, 5, 3, 5]", "T=6"]),
        ({"v": zeros(2, 6, 3, 0)}, ValueError, ["`V`", "size 0"]),
        ({"k": TENSORS["k"].astype(np.float64)}, TypeError, ["`k`", "float64", "float32"]),
        ({"q": zeros(2, 6, 3, 4, dtype=np.float16)}, TypeError, ["`q`", "float16", "float32"]),
        ({"q": zeros(2, 6, 3, 4, dtype=">f4")}, TypeError, ["`q`", ">f4", "float32"]),
        ({"q": zeros(2, 6, 3, 4, dtype=np.complex64)}, TypeError, ["`q`", "complex64"]),
        ({"q": np.array("text")}, TypeError, ["`q`", "<U4"]),
        ({"q": [[1.0]]}, TypeError, ["`q`", "`list`", "numpy array"]),
        ({"q": 3.0}, TypeError, ["`q`", "`float`"]),
        ({"q": Foreign()}, TypeError, ["`q`", "on another device"]),
        ({"initial_state": STATES["S"]}, TypeError, ["`initial_state`", "`ndarray`", "dict", "S"]),
        ({"initial_state": {"Z": STATES["S"]}}, TypeError, ["`initial_state` has no tensor `Z`, only S"]),
        ({"initial_state": {"S": zeros(3, 3, 4, 5)}}, ValueError, ["`S`", "[3, 3, 4, 5]", "[B=2, H=3, K=4, V=5]"]),
        ({"initial_state": {"S": zeros(2, 3, 4, 5, dtype=np.float64)}}, TypeError, ["`S`", "float64", "float32"]),
        ({"initial_state": {3: STATES["S"]}}, TypeError, ["`initial_state` has no tensor `3`"]),
        ({"cu_seqlens": [0, 6]}, ValueError, ["cu_seqlens", "B=2"]),
        ({"cu_seqlens": [0, 4, 3, 6]}, ValueError, ["cu_seqlens", "3 after 4"]),
        ({"cu_seqlens": [0, 7]}, ValueError, ["cu_seqlens", "0 to 7", "T=6"]),
        ({"cu_seqlens": []}, TypeError, ["cu_seqlens", "float64"]),
        ({"cu_seqlens": [0.0, 6.0]}, TypeError, ["cu_seqlens", "float64", "whole numbers"]),
        ({"cu_seqlens": [[0, 6]]}, TypeError, ["cu_seqlens", "[1, 2]"]),
        ({"cu_seqlens": np.array([2**63], np.uint64)}, (ValueError, OverflowError), ["cu_seqlens"]),
        ({"cu_seqlens": "all"}, TypeError, ["cu_seqlens"]),
        ({"cu_seqlens": Foreign()}, TypeError, ["cu_seqlens", "on another device"]),
    ],
)
def test_a_call_that_is_wrong(changed, exception, said):
    with pytest.raises(exception) as raised:
        GLA(**{**TENSORS, **changed})
    for part in said:
        assert part in str(raised.value)


def test_results_that_memory_cannot_hold():
    huge = {key: np.broadcast_to(np.float32(0), (2**22, 2**22, *a.shape[2:])) for key, a in TENSORS.items()}
    for call in [GLA, GLA.vjp, GLA.backward]:
        with pytest.raises((MemoryError, ValueError), match="memory"):
            call(**huge)


def test_gradients_that_do_not_fit():
    _, pullback = GLA.vjp(**TENSORS)
    for given, exception, said in [
        (({"y": zeros(1)}, None), TypeError, "`d_outputs` has no tensor `y`, only o"),
        (({"o": zeros(2, 6, 3, 4)}, None), ValueError, "`d_o` has shape [2, 6, 3, 4], expected [B=2, T=6, H=3, V=5]"),
        (({"o": zeros(2, 6, 3, 5, dtype=np.float64)}, None), TypeError, "`d_o` holds float64"),
        ((None, {"S": zeros(2, 3, 5, 4)}), ValueError, "`d_S`"),
        ((None, [zeros(2, 3, 4, 5)]), TypeError, "`d_final_state` is of type `list`"),
    ]:
        with pytest.raises(exception) as raised:
            pullback(*given)
        assert said in str(raised.value)


def test_a_text_with_mistakes():
    text = "recurrence r {\n    dims { K }\n    inputs { a: [K] }\n    state { S: [K] }\n    S = q * S + a;\n}\n"
    with pytest.raises(baton.DiagnosticError) as raised:
        baton.Recurrence.from_text(text, "mine.rec")
    mistake = raised.value
    assert isinstance(mistake, ValueError)
    assert (mistake.code, mistake.line, mistake.column) == ("R012", 5, 9)
    for part in ["error[R012]", "--> mine.rec:5:9", "5 |     S = q * S + a;", "|         ^"]:
        assert part in str(mistake)
    assert mistake.diagnostics[0].length == 1
    assert any(diagnostic.remedy for diagnostic in mistake.diagnostics)
    copied = pickle.loads(pickle.dumps(mistake))
    assert str(copied) == str(mistake) and copied.diagnostics == mistake.diagnostics


def test_a_recurrence_that_kernels_refuse_and_the_interpreter_runs():
    matrix = baton.Recurrence.from_text(
        "recurrence m {\n dims { K, V }\n inputs { u: [K, V], q: [K] }\n state { S: [K, V] }\n"
        " S = S + u;\n output o: [V] = dot(q, S);\n}"
    )
    tensors, _ = arguments(matrix, np.random.default_rng(0), SIZE, np.float64)
    matrix(**tensors)
    with pytest.raises(baton.DiagnosticError, match="D002"):
        matrix(**{key: array.astype(np.float32) for key, array in tensors.items()})


def test_names_files_and_threads(tmp_path):
    with pytest.raises(ValueError, match="no built-in recurrence `gal`, only mamba2, .*from_text"):
        baton.Recurrence("gal")
    with pytest.raises(FileNotFoundError, match="nowhere.rec"):
        baton.Recurrence.from_file(tmp_path / "nowhere.rec")
    (tmp_path / "bytes.rec").write_bytes(b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError, match="utf-8"):
        baton.Recurrence.from_file(tmp_path / "bytes.rec")
    with pytest.raises(ValueError, match="`cu_seqlens`|name of an argument|R036"):
        baton.Recurrence.from_text(str(GLA).replace("g:", "initial_state:").replace("exp(g)", "exp(initial_state)"))
    for threads in [0, -1, 5000]:
        with pytest.raises(ValueError, match=str(threads)):
            baton.set_num_threads(threads)
    with pytest.raises(TypeError):
        baton.set_num_threads("two")


KNOWN = (ValueError, TypeError, MemoryError, OverflowError)


@pytest.mark.parametrize("seed", range(5))
def test_hundreds_of_calls_with_something_wrong(seed):
    """Any call either fails as it should or gives numbers of the right shapes; nothing else happens."""
    rng = np.random.default_rng(100 + seed)
    recurrences = [baton.Recurrence(name) for name in ["gla", "mamba2", "rwkv7", "mlstm", "mamba1"]]
    values = [None, 1, "x", [], {}, (), b"", object(), np.float32(1), np.array(None), Foreign(), np.nan]
    offsets = [[0], [0, 0], [1, 2], [-1, 3], [0, 2**62], [0, 2, 1], np.array([0, 3], np.int8), np.zeros((0, 2), int)]
    failed = 0
    for _ in range(120):
        recurrence = recurrences[rng.integers(len(recurrences))]
        size = sizes(recurrence, rng, time=int(rng.integers(0, 20)), most=5)
        tensors, states = arguments(recurrence, rng, size)
        arriving = {
            port.name: zeros(*(size[symbol] for symbol in port.layout)) for port in recurrence.outputs
        }
        given = {**tensors, "initial_state": states}
        for _ in range(rng.integers(1, 3)):
            groups = [tensors, states, arriving]
            group = groups[rng.integers(3)]
            name = list(group)[rng.integers(len(group))]
            array = group[name]
            if not isinstance(array, np.ndarray):
                continue
            axis = int(rng.integers(array.ndim)) if array.ndim else 0
            match int(rng.integers(9)):
                case 0:
                    group[name] = values[rng.integers(len(values))]
                case 1:
                    group[name] = array[..., None]
                case 2 if array.ndim:
                    group[name] = array.take(0, axis) if array.shape[axis] else array
                case 3 if array.ndim:
                    group[name] = np.concatenate([array, array, array], axis)
                case 4:
                    group[name] = array.astype(rng.choice(["f8", "f2", "i4", "c8", ">f4", "?"]))
                case 5:
                    group["other"] = array
                case 6:
                    given["cu_seqlens"] = offsets[rng.integers(len(offsets))]
                case 7 if array.ndim:
                    group[name] = array.take([], axis)
                case 8 if array.ndim > 1:
                    group[name] = array.swapaxes(axis, axis - 1)
        given.update(tensors)
        try:
            run = recurrence(output_final_state=True, **given)
            gradients = recurrence.backward(d_outputs=arriving, **given)
            for results in [*run, *gradients]:
                assert all(isinstance(array, np.ndarray) for array in results.values())
        except KNOWN as why:
            failed += 1
            assert str(why)
    assert failed > 60
