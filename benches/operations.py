"""Cases of a recurrence by itself: how each peer is run on one, and what of its record is kept."""

from dataclasses import replace

from machine import Failed
from sections import KEPT

PHASES = ("forward", "forward_keep", "backward", "step", "compile")
# Letters of a case in the order that peers take sizes, and what follows them.
SHAPES = {
    "mamba2": ("ssd", "BTHPNG", ""),
    "mamba1": ("ssd", "BTHPNG", ""),
    "gated_delta_net": ("delta", "BTHKV", ",head"),
    "kda": ("delta", "BTHKV", ",key"),
}
GGML = {"ssd": "ggml_ssm_scan", "delta": "ggml_gated_delta_net"}
# Steps from which PyTorch's forward and backward take minutes, and soon do not fit into the machine's memory.
TOO_LONG = 1 << 18


class Operations:
    """The runs of one section. Ours is checked once for each size of a kernel."""

    def __init__(self, machine, section):
        self.machine, self.section, self.checked = machine, section, {}

    def run(self, case, peer, round_):
        if peer == "Baton":
            return self.ours(case)
        name, kept = peer.removesuffix(", memory kept"), peer.endswith(", memory kept")
        if case.recurrence not in SHAPES:
            raise Failed("has no such operation" if name == "ggml" else "no form of it in plain PyTorch was found")
        kind, letters, more = SHAPES[case.recurrence]
        program, form = (GGML[kind], ()) if name == "ggml" else (f"torch_{kind}.py", (torch_form(name, case),))
        why = self.machine.missing(name.split()[0])
        if why:
            raise Failed(why)
        sizes = ",".join(str(case.size(letter)) for letter in letters) + more
        arguments = (sizes, str(case.threads), str(self.section.seconds), *form)
        done = self.machine.run(program, arguments, KEPT.items() if kept else ())
        record = done.json()
        if self.section.phases == ("step",):
            record["phases"] = {"step": record["phases"]["forward"]}
        return done, record

    def ours(self, case):
        kernel = (case.recurrence, tuple(pair for pair in case.sizes if pair[0] not in "BTHG"))
        shape = ",".join(f"{letter}={size}" for letter, size in case.sizes)
        arguments = ["bench", case.recurrence, "--shape", shape, "--threads", str(case.threads)]
        arguments += ["--repetitions", "1000", "--seconds", str(2 * self.section.seconds), "--json"]
        arguments += [] if kernel in self.checked else ["--check"]
        done = self.machine.run("baton", arguments)
        found = done.json()
        self.checked.setdefault(kernel, max(found.get("checked_error", {"none": 0.0}).values()))
        return done, {
            "checked_error": self.checked[kernel],
            "cold_start_ms": found["cold_start_ms"],
            "peak_gflops": found["machine"]["peak_gflops"],
            "phases": {phase: found[phase] for phase in PHASES},
        }


def torch_form(name, case):
    """The form of a peer in PyTorch; fails for a case that it has none for."""
    if case.recurrence == "mamba1":
        raise Failed("has a loop over tokens alone, which the section of whole models times")
    if name == "fla":
        return "fla"
    compiled = "+compiled" if name.endswith(" compiled") else ""
    if case.size("T") == 1:
        return f"step{compiled}"
    if case.recurrence == "kda":
        raise Failed("no form of it in plain PyTorch but flash-linear-attention's was found")
    if case.size("T") >= TOO_LONG:
        raise Failed(f"not run from {TOO_LONG} steps on: a forward and backward takes minutes, and what is kept between them soon does not fit")
    return f"chunked{compiled}"
