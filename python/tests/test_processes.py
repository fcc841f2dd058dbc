"""What a call costs and holds, signals and threads: each in a process of its own where it must be."""

import os
import subprocess
import sys
import threading
import time
import textwrap

import baton
import numpy as np
import pytest
from support import arguments


def python(program, **options):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_call_costs_less_than_20_microseconds_over_the_run():
    gla = baton.Recurrence("gla")
    tensors, _ = arguments(gla, np.random.default_rng(0), {"B": 1, "T": 1, "H": 1, "K": 8, "V": 8})
    baton.set_num_threads(1)
    try:
        over = []
        for _ in range(30):  # the quickest of each: other work on the machine only adds
            begun = time.perf_counter()
            for _ in range(200):
                gla(**tensors)
            call = (time.perf_counter() - begun) / 200
            over.append((call, gla._seconds(200, **tensors) / 200))
    finally:
        baton.set_num_threads(None)
    call, run = (min(times) for times in zip(*over))
    assert call - run < 20e-6, f"{call * 1e6:.1f} us, of which the run {run * 1e6:.1f} us"


LARGE = """
    import resource
    import baton
    import numpy as np

    gla = baton.Recurrence("gla")
    T, H, K = 8192, 8, 64
    x = {name: np.ones((1, T, H, K), np.float32) for name in ("q", "k", "v", "g")}
    x["g"] *= -0.1
    gla(**{name: array[:, :64] for name, array in x.items()})
    most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before = most()
    outputs, _ = CALL
    print((most() - before) / x["q"].nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how memory is counted differs")
@pytest.mark.parametrize("call", ["gla(**x)", "through_torch()"])
def test_contiguous_inputs_are_not_copied(call):
    program = LARGE
    if call == "through_torch()":
        pytest.importorskip("torch")
        program = program.replace(
            "before = most()",
            "import torch, baton.torch\n    layer = baton.torch.Recurrence('gla')\n"
            "    lent = {name: torch.from_numpy(array) for name, array in x.items()}\n"
            "    layer(**{name: tensor[:, :64] for name, tensor in lent.items()})\n    before = most()",
        )
        call = "layer(**lent)"
    run = python(program.replace("CALL", call))
    # The output is as large as one input; a copy of all would be four more.
    assert float(run.communicate()[0]) < 2.0


# Seconds until kernels have stopped; those of a build with checks are several times as slow.
SOON = 30 if os.environ.get("BATON_CHECKED") else 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("dtype, batch, steps", [("float32", 1024, 1024), ("float64", 1, 1 << 16)])
@pytest.mark.parametrize("backward", [False, True])
def test_a_signal_ends_a_long_call_within_a_second(dtype, batch, steps, backward):
    """And kernels stop soon after; the interpreter of float64 does not."""
    run = python(f"""
        import time
        import baton
        import numpy as np

        delta = baton.Recurrence("delta_net")
        part = np.full((1, 1, 2, 128), 0.01, np.{dtype})
        x = {{name: np.broadcast_to(part, ({batch}, {steps}, 2, 128)) for name in ("q", "k", "v")}}
        x["beta"] = np.broadcast_to(part[..., 0], ({batch}, {steps}, 2))
        begin = delta.backward if {backward} else delta
        begin(**{{name: array[:, :9] for name, array in x.items()}})
        print("begun", flush=True)
        try:
            begin(**x)
            print("ended by itself")
        except KeyboardInterrupt:
            print(time.time(), flush=True)
            time.sleep({SOON})
            spent = time.process_time()
            time.sleep(0.3)
            print(time.process_time() - spent, flush=True)
    """)
    assert run.stdout.readline() == "begun\n"
    time.sleep(0.3)
    sent = time.time()
    run.send_signal(2)
    said = run.stdout.readline()
    idle = dtype == "float64" or float(run.stdout.readline()) < 0.1
    run.kill()
    run.communicate()
    assert float(said) - sent < 1.0 and idle


def test_two_threads_at_once_are_right():
    gla = baton.Recurrence("gla")
    every = [
        arguments(gla, np.random.default_rng(seed), {"B": 1, "T": 150 + seed, "H": 2, "K": 8, "V": 8})[0]
        for seed in range(4)
    ]
    alone = [gla(**tensors).outputs["o"] for tensors in every]
    wrong = []

    def call(i):
        for _ in range(20):
            if not np.array_equal(gla(**every[i]).outputs["o"], alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_follow_torch_unless_told():
    torch = pytest.importorskip("torch")
    import baton.torch

    layer, x = baton.torch.Recurrence("gla"), torch.zeros(1, 3, 1, 2)
    before, cores = torch.get_num_threads(), baton.get_num_threads()
    try:
        torch.set_num_threads(3)
        layer(q=x, k=x, v=x, g=x)
        assert baton.get_num_threads() == 3
        baton.set_num_threads(2)
        layer(q=x, k=x, v=x, g=x)
        assert baton.get_num_threads() == 2
        baton.set_num_threads(None)
        assert baton.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        baton.set_num_threads(None)
    assert cores >= 1
