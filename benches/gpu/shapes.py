"""The shapes that are timed, and what the program says that runs of them must move."""

import json
import subprocess

# Recurrence to (B, H, G, sizes): the shapes that are timed, at each T.
SHAPES = {
    "mamba2": (8, 80, 1, {"N": 128, "P": 64}),
    "linear_attention": (8, 16, 16, {"K": 128, "V": 128}),
    "simple_gla": (8, 16, 16, {"K": 128, "V": 128}),
    "gla": (8, 16, 16, {"K": 128, "V": 128}),
    "delta_net": (8, 16, 16, {"K": 128, "V": 128}),
    "gated_delta_net": (8, 16, 16, {"K": 128, "V": 128}),
    "kda": (8, 16, 16, {"K": 128, "V": 128}),
    "comba": (8, 16, 16, {"K": 128, "V": 128}),
    "rwkv7": (8, 32, 32, {"K": 64, "V": 64}),
    "retnet": (8, 16, 16, {"K": 128, "V": 128}),
    "hgrn2": (8, 16, 16, {"K": 128, "V": 128}),
    "rwkv6": (8, 32, 32, {"K": 64, "V": 64}),
    "mlstm_sigmoid": (8, 16, 16, {"K": 128, "V": 128}),
    "gated_delta_product": (8, 16, 16, {"K": 128, "V": 128}),
}
TIMES = (2048, 4096, 8192, 16384)
# Members that are timed at the first length only: the kit has minutes.
SHORT = set(SHAPES) - {"mamba2", "linear_attention", "simple_gla", "gla"}


def times(recurrence):
    """The lengths that a recurrence is timed at."""
    return TIMES[:1] if recurrence in SHORT else TIMES


def is_timed(kernel):
    """Whether a kernel of a manifest is timed."""
    timed = SHAPES.get(kernel["recurrence"], (None,))[-1] == kernel["sizes"]
    return timed and kernel["phase"] in ("forward", "keep", "backward")


class Floors:
    """What `baton inspect --floors` counts of the timed kernels of a folder."""

    def __init__(self, baton, folder):
        self.baton, self.folder, self.known, self.copies = baton, folder, {}, {}

    def of(self, kernel, shape):
        """Bytes that a run of a kernel must move, or None without the program."""
        if self.baton is None:
            return None
        name = kernel["recurrence"]
        if (name, shape) not in self.known:
            run = ",".join(f"{dim}={size}" for dim, size in zip("BTHG", shape))
            said = subprocess.run(
                [self.baton, "inspect", self.folder, "--floors", "--json", "--run", run, "--name", name],
                check=True, capture_output=True, text=True)
            said = json.loads(said.stdout)
            self.copies = said["copy_bytes_s"]
            self.known[name, shape] = {k["file"]: k["run"]["bytes"] for k in said["kernels"]}
        return self.known[name, shape][kernel["file"]]

    def copy_rate(self, gpu):
        """Bytes a second of a copy on the GPU of this name, or None where that is not known."""
        return next((rate for name, rate in self.copies.items() if name in gpu), None)
