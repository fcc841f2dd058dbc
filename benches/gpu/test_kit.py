"""What of the kit needs no GPU: `python3 -m unittest -v` in this folder."""

import ctypes
import gzip
import importlib.util
import tempfile
import unittest
from pathlib import Path

import kit
import launch
import page
import reference
import shapes
import through

PORT = {"name": "b", "role": "input 1", "pace": "step", "by_head": False, "dims": [16], "dtype": "bf16"}
KERNEL = {
    "file": "k.ptx", "name": "k", "recurrence": "mamba2", "phase": "forward", "target": "sm_80",
    "dtype": "bf16", "sizes": {"N": 16, "P": 64}, "chunk": 64, "warps": 4, "heads": 1, "stages": 3,
    "threads": 128, "shared_bytes": 1000,
    "ports": [PORT, {"name": "d", "role": "param 1", "pace": "task", "by_head": True, "dims": [],
                     "dtype": "f32"}],
    "carries": [{"name": "S", "role": "state 0", "dims": [16, 64]}],
}
SHAPE = (2, 100, 8, 2)


PROGRAM = """#!/usr/bin/env python3
import json, sys
assert sys.argv[1] == "inspect" and "--floors" in sys.argv
run = sys.argv[sys.argv.index("--run") + 1]
assert run == "B=2,T=100,H=8,G=2" and sys.argv[-1] == "mamba2", sys.argv
print(json.dumps({"copy_bytes_s": {"H100": 3e12}, "kernels": [{"file": "k.ptx", "run": {"bytes": 7}}]}))
"""


class Floors(unittest.TestCase):
    def test_the_program_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "baton")
            program.write_text(PROGRAM)
            program.chmod(0o755)
            floors = shapes.Floors(program, folder)
            self.assertEqual(floors.of(KERNEL, SHAPE), 7)
            self.assertEqual(floors.copy_rate("NVIDIA H100 80GB HBM3"), 3.0e12)
            self.assertIsNone(floors.copy_rate("NVIDIA A100-SXM4-80GB"))

    def test_without_the_program_there_are_none(self):
        floors = shapes.Floors(None, ".")
        self.assertIsNone(floors.of(KERNEL, SHAPE))
        self.assertEqual(kit.known([KERNEL], floors), [])
        taken = {"median": 0.5, "p10": 0.4, "p90": 0.6}
        self.assertIsNone(kit.row("baton", "k", "forward", SHAPE, taken, None, 3e12)["percent_of_floor"])

    def test_shapes_that_are_timed(self):
        self.assertFalse(shapes.is_timed(KERNEL))
        self.assertTrue(shapes.is_timed(KERNEL | {"sizes": {"N": 128, "P": 64}}))


RUNS = """#!/usr/bin/env python3
import json, shutil, struct, sys
port = lambda name, dims: {"name": name, "dims": dims, "per_group": False}
if sys.argv[1] == "check":
    print(json.dumps({"inputs": [port("k", ["K"]), port("g", [])], "params": [], "states": [port("S", ["K"])], "outputs": [port("o", ["K"])]}))
else:
    given, out, device = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--inputs", "--output", "--device"))
    if device == "nowhere":
        sys.exit("error: no such device")
    data = bytearray(open(given, "rb").read())
    if device == "wrong":
        data[-3:] = b"\\x70\\x40\\x41"
    open(out, "wb").write(data)
"""


class Through(unittest.TestCase):
    def check(self, device):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "baton")
            program.write_text(RUNS)
            program.chmod(0o755)
            return through.check(str(program), device, "any", "bf16", {"K": 3})

    def test_one_wrong_number_is_seen(self):
        forward, gradients = self.check("right")
        self.assertEqual((set(forward), set(gradients)), ({"k", "g", "S"}, {"d_o", "d_S"}))
        self.assertEqual({*forward.values(), *gradients.values()}, {0.0})
        _, gradients = self.check("wrong")
        self.assertGreater(gradients["d_S"], 1e-2)
        kernel = KERNEL | {"phase": "backward"}
        self.assertFalse(kit.verdict(kernel, ({}, gradients))["passes"])
        self.assertFalse(kit.verdict(kernel, ({}, {"d_S": float("nan")}))["passes"])
        self.assertTrue(kit.verdict(KERNEL, ({"o": 1e-3}, gradients))["passes"])

    def test_what_cannot_be_run_says_why(self):
        with self.assertRaisesRegex(ValueError, "no such device"):
            self.check("nowhere")
        other = KERNEL | {"recurrence": "of one's own"}
        found = kit.through_program(None, "cuda", [KERNEL, other])
        self.assertEqual(list(found), [kit.subject(other)])
        self.assertIn("--baton", kit.verdict(other, found[kit.subject(other)])["refused"])

    def test_inputs_are_those_of_the_dtype_and_of_a_model(self):
        self.assertEqual([through.bf16(x) for x in (1.0, 1.00390625, 1.01171875, -0.0)], [1.0, 1.0, 1.015625, 0.0])
        declared = {"inputs": [{"name": n, "dims": ["K"]} for n in "gkab"], "params": [], "states": [], "outputs": []}
        made = through.inputs(declared, {"K": 4}, "bf16", 1)
        self.assertTrue(all(x < 0 for x in made["g"][1]))
        self.assertTrue(all(abs(sum(x * x for x in made["k"][1][i:i + 4]) - 1) < 0.02 for i in range(0, 16, 4)))
        self.assertTrue(all(a * b <= 0 for a, b in zip(made["a"][1], made["b"][1])))
        self.assertTrue(all(through.bf16(x) == x for _, numbers in made.values() for x in numbers))


class Arguments(unittest.TestCase):
    def test_table_counts_chunks_over_rows(self):
        self.assertEqual(launch.table(2, 100, 64), [0, 0, 100, 0, 1, 0, 100, 2])

    def test_layouts(self):
        def layout(role, heads=1, **other):
            return launch.layout(KERNEL | {"heads": heads}, PORT | {"role": role} | other, *SHAPE)

        self.assertEqual(layout("input 1"), ((2, 100, 2, 16), (6400, 64, 32)))
        self.assertEqual(layout("d_input 1", by_head=True, dtype="f32"),
                         ((2, 100, 8, 16), (51200, 512, 64)))
        self.assertEqual(layout("d_input 1", heads=2, by_head=True, dtype="f32"),
                         ((2, 100, 4, 16), (25600, 256, 64)))
        self.assertEqual(layout("d_input 0", heads=2, by_head=True), ((2, 100, 8, 16), (25600, 256, 32)))
        self.assertEqual(layout("param 0", dims=[], dtype="f32"), ((8,), (0, 0, 4)))
        self.assertEqual(layout("d_param 0", dims=[], dtype="f32"), ((2, 8), (32, 0, 4)))
        self.assertEqual(layout("entering 0", by_head=True, dims=[16, 64]),
                         ((4, 8, 16, 64), (0, 16384, 2048)))
        with self.assertRaises(launch.Refused):
            layout("weight 0")

    def test_parameters_in_the_order_of_the_abi(self):
        words = launch.parameters(KERNEL, 0x100, SHAPE, {"input 1": 0x200, "param 1": 0x300},
                                  {"state 0": (0, 0x400)})
        expected = [("q", 0x100), ("i", 8), ("i", 4)]
        expected += [("q", n) for n in (0x200, 6400, 64, 32, 0x300, 0, 0, 4, 0, 0x400)]
        self.assertEqual(words, expected)

    def test_packed_words_are_where_the_driver_looks(self):
        pointers, held = launch.pack([("q", 1 << 40), ("i", 7)])
        self.assertEqual(ctypes.c_int64.from_address(pointers[0]).value, 1 << 40)
        self.assertEqual(ctypes.c_int32.from_address(pointers[1]).value, 7)
        self.assertEqual(len(held), 2)


@unittest.skipUnless(importlib.util.find_spec("torch"), "torch is not installed")
class Checks(unittest.TestCase):
    """`kit.check` on the CPU, with a launch that runs the reference in place of a kernel."""

    def kernel(self, name, phase, dtype):
        inputs, params, state, output = reference.RECURRENCES[name]
        sizes = dict(zip(sorted(set(state)), (4, 6)))
        backward = phase == "backward"

        def port(role, dims, by_head=True, f32=False):
            return {"name": role, "role": role, "pace": "step", "by_head": by_head,
                    "dims": [sizes[d] for d in dims], "dtype": "f32" if f32 or not dims else dtype}

        ports = [port(f"input {i}", d, not g) for i, (_, d, g) in enumerate(inputs)]
        ports += [port(f"param {i}", d, f32=True) for i, (_, d) in enumerate(params)]
        if backward:
            ports += [port("entering 0", state), port("d_output 0", output)]
            ports += [port(f"d_input {i}", d, True, g) for i, (_, d, g) in enumerate(inputs)]
            ports += [port(f"d_param {i}", d, f32=True) for i, (_, d) in enumerate(params)]
        else:
            ports += [port("output 0", output), port("entering 0", state)]
        carry = {"name": "S", "role": "d_state 0" if backward else "state 0",
                 "dims": [sizes[d] for d in state]}
        return KERNEL | {"recurrence": name, "phase": phase, "dtype": dtype, "sizes": sizes,
                         "chunk": 16, "ports": ports, "carries": [carry]}

    def errors(self, name, phase, dtype, spoil=None):
        import torch

        class Cpu(kit.Gpu):
            def __init__(self):
                self.torch, self.device = torch, "cpu"
                self.dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}

            def wait(self):
                pass

            def launcher(self, kernel, function, shape, tensors, carries):
                def launch():
                    run(kernel, tensors, carries)
                    if spoil:
                        tensors[spoil].view(-1)[3] += 1

                return launch

        def run(kernel, tensors, carries):
            def given(kind):
                found = [x for role, x in tensors.items() if role.split()[0] == kind]
                return [x.double().requires_grad_() for x in found]

            inputs, params = given("input"), given("param")
            enters, leaves = next(iter(carries.values()))
            backward = kernel["phase"] == "backward"
            state = enters.double() if not backward else tensors["entering 0"].double().unflatten(
                0, (kit.CHECKED[0], -1))[:, 0]
            state.requires_grad_()
            heads = [x.repeat_interleave(state.shape[1] // x.shape[2], 2).detach().requires_grad_()
                     for x in inputs]
            rows = [p.expand(kit.CHECKED[0], *p.shape).detach().requires_grad_() for p in params]
            declared = reference.RECURRENCES[name][1]
            outputs, entering, at = [], [], state
            for t in range(heads[0].shape[1]):
                if t % kernel["chunk"] == 0:
                    entering.append(at)
                i = {n: x[:, t] for (n, _, _), x in zip(reference.RECURRENCES[name][0], heads)}
                y, at = reference.step(name, i, {n: p for (n, _), p in zip(declared, rows)}, at)
                outputs.append(y)
            output = torch.stack(outputs, 1)
            if not backward:
                tensors["output 0"].copy_(output.detach())
                tensors["entering 0"].copy_(torch.stack(entering, 1).flatten(0, 1).detach())
                leaves.copy_(at.detach())
                return
            total = (output * tensors["d_output 0"]).sum() + (at * enters).sum()
            found = torch.autograd.grad(total, [*heads, *rows, state])
            for i in range(len(heads)):
                tensors[f"d_input {i}"].copy_(found[i])
            for i in range(len(rows)):
                tensors[f"d_param {i}"].copy_(found[len(heads) + i])
            leaves.copy_(found[-1])

        return kit.check(Cpu(), self.kernel(name, phase, dtype), None)

    def test_every_recurrence_and_phase(self):
        for name in reference.RECURRENCES:
            for phase in ("keep", "backward"):
                for dtype in ("f32", "bf16"):
                    found = self.errors(name, phase, dtype)
                    self.assertTrue(found["passes"], (name, phase, dtype, found))

    def test_one_wrong_number_fails(self):
        for phase, role in (("keep", "output 0"), ("keep", "entering 0"), ("backward", "d_input 1"),
                            ("backward", "d_param 2")):
            self.assertFalse(self.errors("mamba2", phase, "f32", role)["passes"], role)


class Pages(unittest.TestCase):
    def test_without_gpu_says_so(self):
        report = {"generator": "0.1.0", "measured": False, "why": "no NVIDIA driver", "kernels": [KERNEL],
                  "floors": [{"recurrence": "mamba2", "phase": "forward", "shape": {"B": 8, "T": 2048}, "bytes": 3.7e8}]}
        text = page.page(report)
        self.assertIn("**Not measured**: no NVIDIA driver.", text)
        self.assertIn("| k | N16 P64 | 64 | 1 | 128 | 3 | 1000 | - | - |", text)
        self.assertIn("| mamba2 | forward | B8 T2048 | 0.370 |", text)

    def test_measured(self):
        taken = {"median": 0.5, "p10": 0.4, "p90": 0.6}
        row = kit.row("baton", "k", "forward", SHAPE, taken, 3.0e8, 3.0e12)
        self.assertAlmostEqual(row["percent_of_floor"], 20)
        check = {"kernel": "k", "sizes": {"N": 16}, "errors": {"output 0": 1e-3, "state 0": float("nan")},
                 "tolerance": 5e-3, "passes": False}
        text = page.page({"generator": "0.1.0", "measured": True, "gpu": "G", "torch": "2", "kernels": [],
                          "copy_bytes_s": 2e12, "floor_bytes_s": 3e12, "checks": [check],
                          "timings": [row], "cold_start_s": {"baton mamba2": 0.4}})
        self.assertIn("nan state 0 | 0.005 | **fails** |", text)
        self.assertIn("| 0.500 | 0.400 to 0.600 | 0.100 | 20 % |", text)
        self.assertIn("| baton mamba2 | 0.40 |", text)

    def test_a_cold_start_is_of_one_shape(self):
        def kernel(phase, n, dtype="bf16"):
            return KERNEL | {"phase": phase, "sizes": {"N": n, "P": 64}, "dtype": dtype}

        phases = ("forward", "keep", "backward")
        shipped = [kernel(p, n, d) for d in ("bf16", "f32") for n in (16, 128) for p in phases]
        expected = [kernel(p, 128) for p in ("keep", "backward")]
        self.assertEqual(kit.training_pair(shipped, "mamba2"), expected)
        self.assertEqual(kit.training_pair(shipped[:3], "mamba2"), shipped[1:3])

    def test_compressed_texts_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, data in (("a.ptx", b".version"), ("b.ptx.gz", gzip.compress(b".version"))):
                Path(folder, name).write_bytes(data)
                self.assertEqual(kit.ptx(Path(folder), {"file": name}), b".version")

    def test_tolerances(self):
        self.assertEqual(kit.tolerance(KERNEL), 5e-3)
        self.assertEqual(kit.tolerance(KERNEL | {"phase": "backward"}), 1e-2)
        self.assertEqual(kit.tolerance(KERNEL | {"dtype": "f32", "products": "threeterms"}), 1e-5)
        self.assertEqual(kit.tolerance(KERNEL | {"dtype": "f32", "products": "tf32"}), 1e-3)


if __name__ == "__main__":
    unittest.main()
