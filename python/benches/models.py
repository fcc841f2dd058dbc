"""transformers' own path on the CPU beside the same model accelerated, in one run: the table of docs/python.md.

    python python/benches/models.py [--threads 2] [--layers 24] [--minutes 14] [--only TEXT] [--write]

in an environment that has the package, PyTorch and transformers (`make test-python` makes target/python/venv). Each figure is a
process of its own, own path and accelerated in turn, round by round, so that a machine that drifts shows; after the first
round a figure is measured again while there are minutes left. A time is the least of its rounds, memory (the peak of the
process less what it held with the model loaded) the greatest. A run of 2048 tokens at most comes before the one that counts,
as kernels are made when they are first needed. Weights are random. A figure counts only if both sides give the same logits.

`--write` puts the table into docs/python.md and what was measured, with the machine and its load, into
python/benches/models.json, to which a test holds the page.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

MODELS = {
    # The sizes of the published 130M models; transformers' chunk of 256 is its default.
    "Mamba-2 130M": (
        "Mamba2",
        {
            "num_heads": 24,
            "head_dim": 64,
            "hidden_size": 768,
            "state_size": 128,
            "n_groups": 1,
            "expand": 2,
        },
    ),
    "Mamba 130M": (
        "Mamba",
        {
            "hidden_size": 768,
            "state_size": 16,
            "intermediate_size": 1536,
            "time_step_rank": 48,
        },
    ),
}
#: Name, and what it is with its tokens; a training step is forward, loss and backward. Short ones first.
TASKS = {
    "decode, 32 tokens": ("decode", 32),
    "training step, T = 128": ("train", 128),
    "training step, T = 512": ("train", 512),
    "prefill, T = 2048": ("prefill", 2048),
    "prefill, T = 16384": ("prefill", 16384),
}
#: The gradient of transformers' scan of Mamba takes time by the square of the steps: ten minutes for 512.
NOT = {("Mamba 130M", "training step, T = 512"), ("Mamba-2 130M", "training step, T = 128")}
MOST_ROUNDS = 5
HERE = Path(__file__).resolve().parent
RESULTS = HERE / "models.json"
PAGE = HERE.parents[1] / "docs" / "python.md"
MARKS = ("<!-- models -->\n", "<!-- /models -->\n")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(model, task, accelerated, threads, layers):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, sizes = MODELS[model]
    what, length = TASKS[task]
    config = getattr(transformers, f"{kind}Config")(vocab_size=50288, num_hidden_layers=layers, **sizes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    if accelerated:
        import baton

        baton.accelerate(model)
    ids = torch.randint(3, 50000, (1, length))

    def run(ids):
        if what == "train":
            model.train()
            model.zero_grad()
            output = model(ids, labels=ids)
            output.loss.backward()
            return output.logits
        model.eval()
        with torch.no_grad():
            if what == "prefill":
                return model(ids, use_cache=True, logits_to_keep=1).logits
            output = model(ids[:, :1], use_cache=True)
            for at in range(1, ids.shape[1]):
                output = model(ids[:, at : at + 1], cache_params=output.cache_params, use_cache=True)
            return output.logits

    run(ids[:, :16])
    held = peak()
    if what != "decode":  # whose steps have all been made
        run(ids[:, :2048])
    begun, spent = time.perf_counter(), time.process_time()
    logits = run(ids)
    seconds, wall = time.process_time() - spent, time.perf_counter() - begun
    return {"seconds": seconds, "wall": wall, "bytes": peak() - held, "logits": logits[0, -1, :8].tolist()}


def row(found):
    own, ours = found["own"], found["accelerated"]
    times = [min(run["wall"] for run in side) for side in (own, ours)]
    memory = [max(run["bytes"] for run in side) for side in (own, ours)]
    return (
        f"| {found['model']}, {found['task']} | {times[0]:.2f} s | {times[1]:.2f} s | {times[0] / times[1]:.1f} | "
        f"{memory[0] / 2**20:.0f} MiB | {memory[1] / 2**20:.0f} MiB |"
    )


def table(results):
    """The page's part between its marks."""
    of = results["conditions"]
    loads = [load for found in results["figures"] for load in found["load"]]
    rounds = min(len(found["own"]) for found in results["figures"])
    lines = [
        f"Measured by `{of['command']}` on {of['machine']}, {of['date']}: {of['layers']} layers, threads {of['threads']} on either "
        f"side, at least {rounds} rounds of each figure, a load of {min(loads):.1f} to {max(loads):.1f} "
        f"when a figure began (its own runs are in that), transformers {of['transformers']}, PyTorch {of['torch']}.",
        "",
        "| | transformers | accelerated | times | its memory | accelerated |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [row(found) for found in results["figures"]]) + "\n"


def conditions(options):
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = re.search(r"model name\s*: (.*)", info.read_text())[1].strip()
    return {
        "command": f"python python/benches/models.py --threads {options.threads} --layers {options.layers}",
        "machine": f"{os.cpu_count()} cores of {cpu}",
        "date": time.strftime("%Y-%m-%d"),
        "threads": options.threads,
        "layers": options.layers,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }


def one(options, model, task, accelerated):
    sizes = ["--threads", str(options.threads), "--layers", str(options.layers)]
    command = [sys.executable, __file__, *sizes, "--one", model, task, str(accelerated)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(said.splitlines()[-1])


def checked(found):
    """Ends the program where the two sides are not the same model."""
    pairs = zip(found["accelerated"][-1]["logits"], found["own"][0]["logits"])
    difference = max(abs(a - b) for a, b in pairs)
    if not difference < 1e-3:
        what = f"{found['model']}, {found['task']}"
        sys.exit(f"{what}: the logits differ by {difference:.1e}: not the same model, so no time counts")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, task, accelerated = options.one
        print(json.dumps(measure(model, task, accelerated == "True", options.threads, options.layers)))
        return
    begun, taken, figures = time.monotonic(), {}, {}
    every = [(model, task) for model in MODELS for task in TASKS if options.only in f"{model}, {task}" and (model, task) not in NOT]
    if not every or (options.write and options.only):
        parser.error(f"--only {options.only} given, expected a part of a row's name, and not beside --write")
    for _ in range(MOST_ROUNDS):
        for figure in every:
            if time.monotonic() - begun + taken.get(figure, 0) > 60 * options.minutes and figure in figures:
                continue
            start, load = time.monotonic(), os.getloadavg()[0]
            found = figures.setdefault(
                figure, {"model": figure[0], "task": figure[1], "own": [], "accelerated": [], "load": []}
            )
            for side in ("own", "accelerated"):
                found[side].append(one(options, *figure, side == "accelerated"))
            found["load"].append(load)
            checked(found)
            taken[figure] = time.monotonic() - start
            print(f"{taken[figure]:.0f} s {row(found)}", file=sys.stderr, flush=True)
    results = {"conditions": conditions(options), "figures": list(figures.values())}
    print(table(results))
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        before, _, after = PAGE.read_text().partition(MARKS[0])
        PAGE.write_text(before + MARKS[0] + table(results) + MARKS[1] + after.partition(MARKS[1])[2])


if __name__ == "__main__":
    main()
