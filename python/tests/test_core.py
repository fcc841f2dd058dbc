"""Runs and gradients on arrays: against the peers' golden values, and float32 kernels against the float64 interpreter."""

import copy
import multiprocessing
import pickle
import sys
import threading
import time

import baton
import numpy as np
import pytest
from support import arguments, error, golden, sizes, strided

TWO = """recurrence two {
    dims   { K, V }
    inputs { q: [K] per group, k: [K], v: [V], g: [] }
    params { a: [], d: [V] }
    state  { S: [K, V], z: [K] }

    S = sigmoid(g + a) * S + outer(k, v);
    z = sigmoid(g) * z + k;
    output o: [V] = dot(q, S) + d * v;
    output n: [] = dot(q, z);
}
"""
# Names in the golden files that differ from ours.
MEMBERS = [
    ("fla_golden", "gla", {"gk": "g"}, {"h0": "S"}, {"hT": "S"}),
    ("delta_golden", "delta_net", {}, {"h0": "S"}, {"hT": "S"}),
    (
        "family_golden",
        "mlstm",
        {},
        {"C0": "S", "n0": "n", "m0": "m"},
        {"hT.C": "S", "hT.n": "n", "hT.m": "m"},
    ),
]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file, name, inputs, initial, final", MEMBERS)
def test_values_of_the_peers(file, name, inputs, initial, final, dtype):
    values = golden(file, name)
    given = {key[3:]: array.astype(dtype) for key, array in values.items() if key.startswith("in.")}
    tensors = {inputs.get(key, key): array for key, array in given.items() if key not in initial}
    states = {initial[key]: given[key] for key in initial}
    recurrence = baton.Recurrence(name)
    tolerance = TOLERANCE[dtype]
    run, pullback = recurrence.vjp(initial_state=states, **tensors)
    assert run.outputs["o"].dtype == dtype
    assert error(run.outputs["o"], values["o"]) < tolerance
    for key, state in final.items():
        assert error(run.final_state[state], values[key]) < tolerance
    arriving = {state: values["d" + key].astype(dtype) for key, state in final.items()}
    arriving = ({"o": values["do"].astype(dtype)}, arriving)
    alone = recurrence.backward(
        d_outputs=arriving[0], d_final_state=arriving[1], initial_state=states, **tensors
    )
    for gradients in [pullback(*arriving), alone]:
        for key in given:
            where = gradients.initial_state if key in initial else gradients.inputs
            ours = where[initial.get(key, inputs.get(key, key))]
            assert error(ours, values[f"grad.{key}"]) < tolerance, key


def recurrences():
    return [baton.Recurrence(name) for name in ["gla", "mamba2", "rwkv7", "mamba1", "mamba3"]] + [
        baton.Recurrence.from_text(TWO)
    ]


@pytest.mark.parametrize("recurrence", recurrences(), ids=lambda recurrence: recurrence.name)
@pytest.mark.parametrize("seed", range(4))
def test_kernels_and_interpreter_agree_at_random_sizes(recurrence, seed):
    rng = np.random.default_rng(seed)
    size = sizes(recurrence, rng)
    packed = seed % 2 == 1
    offsets, sequences = None, None
    if packed:
        size["B"], sequences = 1, 3
        inner = np.sort(rng.integers(0, size["T"] + 1, 2))
        offsets = [0, *inner.tolist(), size["T"]]
        if seed == 3:
            offsets = np.array(offsets, np.int32)
    tensors, states = arguments(recurrence, rng, size, sequences=sequences)
    states.pop(next(iter(states)))  # one of them absent
    wide = {key: array.astype(np.float64) for key, array in tensors.items()}
    wide_states = {key: array.astype(np.float64) for key, array in states.items()}
    lent = {key: strided(array, rng) for key, array in tensors.items()}
    kept = {key: array.copy() for key, array in lent.items()}
    lent_states = {key: strided(array, rng) for key, array in states.items()}

    run, pullback = recurrence.vjp(initial_state=lent_states, cu_seqlens=offsets, **lent)
    truth, pull_truth = recurrence.vjp(initial_state=wide_states, cu_seqlens=offsets, **wide)
    for results, expected in zip(run, truth):
        assert list(results) == list(expected)
        for key in expected:
            assert error(results[key], expected[key]) < 1e-4, key
    arriving = [
        {key: rng.standard_normal(array.shape).astype(np.float32) for key, array in results.items()}
        for results in run
    ]
    arriving[1].pop(next(iter(arriving[1])))
    wide_arriving = [{key: array.astype(np.float64) for key, array in each.items()} for each in arriving]
    for results, expected in zip(pullback(*arriving), pull_truth(*wide_arriving)):
        assert list(results) == list(expected)
        for key in expected:
            assert error(results[key], expected[key]) < 1e-4, key
    for key, array in kept.items():
        np.testing.assert_array_equal(lent[key], array)


@pytest.mark.parametrize("recurrence", recurrences(), ids=lambda recurrence: recurrence.name)
def test_gradients_are_those_of_differences(recurrence):
    rng = np.random.default_rng(7)
    size = sizes(recurrence, rng, time=5, most=4)
    tensors, states = arguments(recurrence, rng, size, np.float64)
    run, pullback = recurrence.vjp(initial_state=states, **tensors)
    arriving = [{key: rng.standard_normal(array.shape) for key, array in each.items()} for each in run]
    gradients = pullback(*arriving)

    def loss(tensors, states):
        run = recurrence(initial_state=states, output_final_state=True, **tensors)
        return sum((arriving[i][key] * run[i][key]).sum() for i in range(2) for key in run[i])

    for given, found in [
        (tensors, {**gradients.inputs, **gradients.params}),
        (states, gradients.initial_state),
    ]:
        for key in given:
            along = rng.standard_normal(given[key].shape)
            ends = []
            for step in [1e-5, -1e-5]:
                moved = {**given, key: given[key] + step * along}
                ends.append(loss(moved, states) if given is tensors else loss(tensors, moved))
            assert error(np.sum(found[key] * along), (ends[0] - ends[1]) / 2e-5) < 1e-6, key


def test_broadcast_reversed_unaligned_and_empty_arrays():
    rng = np.random.default_rng(3)
    recurrence = baton.Recurrence("gla")
    size = {"B": 2, "T": 7, "H": 3, "K": 5, "V": 4}
    tensors, states = arguments(recurrence, rng, size)
    tensors["g"] = np.broadcast_to(np.float32(-0.25), tensors["g"].shape)
    expected, _ = recurrence(**{key: array.copy() for key, array in tensors.items()})
    memory = np.zeros(tensors["k"].nbytes + 1, np.uint8)
    odd = memory[1:].view(np.float32).reshape(tensors["k"].shape)
    odd[...] = tensors["k"]
    given = {**tensors, "k": odd, "q": tensors["q"][:, ::-1].copy()[:, ::-1]}
    assert not odd.flags.aligned and given["q"].strides[1] < 0
    np.testing.assert_array_equal(recurrence(**given)[0]["o"], expected["o"])

    empty = {key: array[:, :0] for key, array in tensors.items()}
    run = recurrence(initial_state=states, output_final_state=True, **empty)
    assert run.outputs["o"].shape == (2, 0, 3, 4)
    np.testing.assert_array_equal(run.final_state["S"], states["S"])


def test_results_own_their_memory_and_outlive_everything():
    recurrence = baton.Recurrence("gla")
    tensors, _ = arguments(recurrence, np.random.default_rng(0), {"B": 1, "T": 9, "H": 2, "K": 4, "V": 4})
    run, pullback = recurrence.vjp(**tensors)
    before = run.outputs["o"].copy()
    for array in tensors.values():
        assert not np.shares_memory(array, run.outputs["o"])
    run.outputs["o"][...] += 1
    again, _ = recurrence(**tensors)
    np.testing.assert_array_equal(again["o"], before)
    outputs = run.outputs
    del run, pullback, recurrence, tensors
    np.testing.assert_array_equal(outputs["o"], before + 1)


def test_absent_states_are_zero_and_final_states_are_given_on_request():
    recurrence = baton.Recurrence("gla")
    rng = np.random.default_rng(1)
    tensors, states = arguments(recurrence, rng, {"B": 2, "T": 40, "H": 2, "K": 8, "V": 8})
    zero = {"S": np.zeros_like(states["S"])}
    absent = recurrence(initial_state={"S": None}, **tensors)
    assert absent.final_state is None
    run = recurrence(initial_state=zero, output_final_state=True, **tensors)
    np.testing.assert_array_equal(absent.outputs["o"], run.outputs["o"])
    # A sequence cut in two, its state handed over, is the whole.
    first = recurrence(output_final_state=True, **{key: array[:, :17] for key, array in tensors.items()})
    second = recurrence(
        initial_state=first.final_state,
        output_final_state=True,
        **{key: array[:, 17:] for key, array in tensors.items()},
    )
    whole = np.concatenate([first.outputs["o"], second.outputs["o"]], 1)
    assert error(whole, run.outputs["o"]) < 1e-5
    assert error(second.final_state["S"], run.final_state["S"]) < 1e-5


def test_what_a_recurrence_declares():
    mamba2 = baton.Recurrence("mamba2")
    assert (mamba2.name, mamba2.dims, mamba2.class_) == ("mamba2", ("N", "P"), "scalar")
    assert [port.name for port in mamba2.inputs] == ["x", "b", "c", "dt"]
    assert mamba2.inputs[1] == baton.Port("b", ("N",), True, ("B", "T", "G", "N"))
    assert mamba2.params[0].layout == ("H",)
    assert mamba2.states[0].layout == ("B", "H", "N", "P")
    assert mamba2.outputs[0].layout == ("B", "T", "H", "P")
    assert repr(mamba2) == 'baton.Recurrence("mamba2")'
    assert "mamba2" in baton.builtins()
    assert "recurrence mamba2" in str(mamba2)
    assert "mamba2" in mamba2.derivation()
    assert len(mamba2.derivation(gradient=True)) > len(mamba2.derivation())
    full = "recurrence f { dims { K, V } inputs { a: [K], b: [V] } state { S: [K, V] } "
    full = baton.Recurrence.from_text(full + "S = exp(outer(a, b)) * S + outer(a, b); output o: [V] = dot(a, S); }")
    assert full.class_ == "elementwise" and "one step" in full.derivation()


def test_equality_hash_pickle_and_files(tmp_path):
    two = baton.Recurrence.from_text(TWO)
    path = tmp_path / "two.rec"
    path.write_text("// the same\n" + TWO)
    same = baton.Recurrence.from_file(path)
    assert same == two and hash(same) == hash(two) and same != baton.Recurrence("gla") and two != "two"
    for copied in [pickle.loads(pickle.dumps(two)), copy.deepcopy(two), eval(repr(two), {"baton": baton})]:
        assert copied == two


def test_bits_do_not_depend_on_threads():
    recurrence = baton.Recurrence("gla")
    tensors, _ = arguments(recurrence, np.random.default_rng(2), {"B": 1, "T": 300, "H": 3, "K": 8, "V": 8})
    cores = baton.get_num_threads()
    results = []
    try:
        for threads in [1, 2, 5]:
            baton.set_num_threads(threads)
            assert baton.get_num_threads() == threads
            results.append(recurrence(**tensors).outputs["o"])
    finally:
        baton.set_num_threads(None)
    assert baton.get_num_threads() == cores
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_other_threads_of_python_run_meanwhile():
    recurrence = baton.Recurrence("gla")
    size = {"B": 1, "T": 500, "H": 1, "K": 16, "V": 16}
    tensors, _ = arguments(recurrence, np.random.default_rng(4), size, np.float64)
    inside, seen = False, False

    def run():
        nonlocal inside
        for _ in range(200):
            inside = True
            recurrence(**tensors)
            inside = False
            if seen:
                return

    # Nobody is made to give the interpreter up: only a call that does so lets us see it from inside.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        worker = threading.Thread(target=run)
        worker.start()
        while worker.is_alive() and not seen:
            seen = inside
            time.sleep(0.0002)
    finally:
        sys.setswitchinterval(interval)
    worker.join()
    assert seen


def in_child(queue):
    recurrence = baton.Recurrence("gla")
    tensors, _ = arguments(recurrence, np.random.default_rng(5), {"B": 1, "T": 70, "H": 2, "K": 4, "V": 4})
    queue.put(recurrence(**tensors).outputs["o"])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    in_child(queue)
    ours = queue.get(timeout=60)
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    theirs = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(theirs, ours)
