"""transformers' own path on the CPU beside the same model accelerated, in one run: the table of docs/python.md.

    python python/benches/models.py [--threads 2] [--layers 24] [--rounds 3] [--only TEXT] [--json FILE]

Each figure is a process of its own, own path and accelerated in turn, round by round, so that a machine that drifts
shows; a time is the least of its rounds, memory (the peak of the process less what it held with the model loaded) the
greatest. A run of 2048 tokens at most comes before the one that counts, as kernels are made when they are first needed.
Times are the processor's, of all threads, which other work on the machine hardly changes; the file has the wall's too.
Weights are random. A figure counts only if both sides give the same logits.
"""

import argparse
import json
import os
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
#: Name, tokens, batch, and which models; a training step is forward, loss and backward.
TASKS = {
    "prefill, T = 2048": ("prefill", 2048),
    "prefill, T = 16384": ("prefill", 16384),
    "training step, T = 512": ("train", 512),
    "decode, 32 tokens": ("decode", 32),
}


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
    run(ids[:, :2048])
    begun, spent = time.perf_counter(), time.process_time()
    logits = run(ids)
    seconds, wall = time.process_time() - spent, time.perf_counter() - begun
    return {"seconds": seconds, "wall": wall, "bytes": peak() - held, "logits": logits[0, -1, :8].tolist()}


def row(model, task, runs):
    own, ours = runs[False], runs[True]
    pairs = [(a, b) for run in ours for a, b in zip(run["logits"], own[0]["logits"])]
    difference = max(abs(a - b) for a, b in pairs)
    if not difference < 1e-3:
        sys.exit(f"{model}, {task}: the logits differ by {difference:.1e}: not the same model, so no time counts")
    times = [min(run["seconds"] for run in side) for side in (own, ours)]
    memory = [max(run["bytes"] for run in side) for side in (own, ours)]
    return (
        f"| {model}, {task} | {times[0]:.2f} s | {times[1]:.2f} s | {times[0] / times[1]:.1f} | "
        f"{memory[0] / 2**20:.0f} MiB | {memory[1] / 2**20:.0f} MiB |"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, task, accelerated = options.one
        print(json.dumps(measure(model, task, accelerated == "True", options.threads, options.layers)))
        return
    found = []
    print("| | transformers | accelerated | times | its memory | accelerated |\n|---|---|---|---|---|---|")
    for model in MODELS:
        for task in TASKS:
            if options.only not in f"{model}, {task}":
                continue
            runs = {False: [], True: []}
            for _ in range(options.rounds):
                for accelerated in runs:
                    one = [
                        sys.executable,
                        __file__,
                        "--threads",
                        str(options.threads),
                        "--layers",
                        str(options.layers),
                        "--one",
                        model,
                        task,
                        str(accelerated),
                    ]
                    said = subprocess.run(one, stdout=subprocess.PIPE, check=True, text=True).stdout
                    runs[accelerated].append(json.loads(said.splitlines()[-1]))
            print(row(model, task, runs), flush=True)
            found.append(
                {"model": model, "task": task, "own": runs[False], "accelerated": runs[True], "load": os.getloadavg()}
            )
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
