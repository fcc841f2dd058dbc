"""Makes the folder of kernels that kit.py checks and times: one for each recurrence and phase, at the sizes of
floors.py in bf16, and what NVIDIA's assembler says of them for sm_80 and sm_90. Needs a `baton` built with the feature
`mlir` and `make cuda-tools`; no GPU.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from floors import SHAPES

CHIPS = ("sm_80", "sm_90")


def build(baton, name, sizes, target):
    """Emits the kernels of a recurrence into `target`; their manifest entries, with registers and spills."""
    with tempfile.TemporaryDirectory() as folder:
        shape = ",".join(f"{dim}={size}" for dim, size in sizes.items())
        command = [baton, "emit", name, "--dtype", "bf16", "--shape", shape, "-o", folder]
        subprocess.run(command, check=True)
        manifest = json.loads(Path(folder, "manifest.json").read_text())
        for chip in CHIPS:
            found = subprocess.run([baton, "inspect", folder, "--chip", chip, "--json"], check=True, capture_output=True)
            for kernel, seen in zip(manifest["kernels"], json.loads(found.stdout)["kernels"]):
                kernel["assembled"][chip] = {key: seen[key] for key in ("registers", "spill_bytes")}
        for kernel in manifest["kernels"]:
            shutil.copy(Path(folder, kernel["file"]), target)
        return manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baton", default="target/release/baton", help="built with the feature `mlir`")
    parser.add_argument("-o", "--output", default="target/gpu/kernels")
    arguments = parser.parse_args()
    target = Path(arguments.output)
    target.mkdir(parents=True, exist_ok=True)
    whole = None
    for name, (_, _, _, sizes) in SHAPES.items():
        print(name, sizes, flush=True)
        manifest = build(arguments.baton, name, sizes, target)
        if whole is None:
            whole = manifest
        else:
            whole["kernels"] += manifest["kernels"]
    (target / "manifest.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
