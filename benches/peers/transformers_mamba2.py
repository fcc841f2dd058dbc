"""transformers' Mamba2ForCausalLM under PyTorch: training steps on the CPU, timed one by one.

    prepare WORK CONFIG STEPS   writes what both sides read: ours' configuration, a text, token ids
    run WORK THREADS STEPS NAME checks the model against ours, then trains; prints JSON

`run` loads the folder WORK/model that ours wrote and compares its logits for WORK/ids.safetensors with ours in
WORK/logits.safetensors: above TOLERANCE of the largest logit it fails and prints no time. Then a step is zeroed
gradients, forward, cross-entropy, backward, clipping by the global norm and AdamW, with the settings of CONFIG;
matrices decay and vectors do not, as on our side. Nothing is compiled; the kernels of mamba_ssm are not for the
CPU, so transformers takes its path in plain PyTorch. Its chunk is the quickest of CHUNKS, each tried first.
"""

import json
import random
import sys
import time
from pathlib import Path

TOLERANCE = 1e-4
CHUNKS = (32, 64, 128, 256)
TRIAL_STEPS = 3


def prepare(work, config, steps):
    config = json.loads(Path(config).read_text())
    config["schedule"]["steps"] = int(steps)
    (work / "config.json").write_text(json.dumps(config))
    draw = random.Random(1)
    (work / "text.bin").write_bytes(bytes(draw.randrange(256) for _ in range(200_000)))
    import torch
    from safetensors.torch import save_file

    ids = torch.tensor([[draw.randrange(256) for _ in range(300)] for _ in range(2)])
    save_file({"input_ids": ids}, work / "ids.safetensors")


def run(work, threads, steps, name):
    import torch
    import transformers
    from safetensors.torch import load_file

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(int(threads))
    config = json.loads((work / "config.json").read_text())
    shape = (config["batch_size"], config["train_length"])
    model = transformers.Mamba2ForCausalLM.from_pretrained(work / "model", dtype=torch.float32)

    with torch.no_grad():
        ours = load_file(work / "logits.safetensors")["logits"]
        theirs = model(load_file(work / "ids.safetensors")["input_ids"], use_cache=False).logits
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if not error < TOLERANCE:
        sys.exit(f"the logits differ by {error:.1e} of the largest: not the same model, so no time counts")

    settings, rate = config["optimizer"], config["schedule"]["peak"]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
    )
    text = torch.frombuffer(bytearray((work / "text.bin").read_bytes()), dtype=torch.uint8).long()
    draw = torch.Generator().manual_seed(1)
    model.train()

    def step():
        begun = time.perf_counter()
        places = torch.randint(len(text) - shape[1] - 1, (shape[0],), generator=draw)
        window = torch.stack([text[at : at + shape[1] + 1] for at in places.tolist()])
        optimizer.zero_grad(set_to_none=True)
        logits = model(window[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        loss.item()
        return time.perf_counter() - begun

    def with_chunk(chunk):
        for module in model.modules():
            if hasattr(module, "chunk_size"):
                module.chunk_size = chunk

    def trial(chunk):
        with_chunk(chunk)
        return min(step() for _ in range(TRIAL_STEPS))

    chunk = min(CHUNKS, key=trial)
    with_chunk(chunk)
    seconds = [step() for _ in range(int(steps))]
    print(
        json.dumps(
            {
                "peer": f"transformers {transformers.__version__}, torch {torch.__version__}, {name}",
                "parameters": sum(p.numel() for p in model.parameters()),
                "chunk": chunk,
                "checked_error": error,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    verb, work, *rest = sys.argv[1:]
    {"prepare": prepare, "run": run}[verb](Path(work), *rest)
