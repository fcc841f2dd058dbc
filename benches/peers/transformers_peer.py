"""transformers' Mamba models under PyTorch on the CPU: training steps, and a prompt read and tokens made.

    train WORK THREADS STEPS               checks the model against ours, then trains
    generate MODEL PROMPT TOKENS THREADS   reads the bytes of PROMPT as token ids, and makes greedy tokens

`train` loads the folder WORK/model that ours wrote and compares its logits for WORK/ids.json with ours in
WORK/logits.safetensors: above TOLERANCE of the largest logit it fails and prints no time. Then a step is zeroed
gradients, forward, cross-entropy, backward, clipping by the global norm and AdamW, with the settings of
WORK/config.json; matrices decay and vectors do not, as on our side. Nothing is compiled; the kernels of mamba_ssm are
not for the CPU, so transformers takes its path in plain PyTorch. Its chunk is the quickest of CHUNKS, each tried
first. `generate` warms up with a few tokens.
"""

import json
import sys
import time
from pathlib import Path

import torch
import transformers

TOLERANCE = 1e-4
CHUNKS = (32, 64, 128, 256)
TRIAL_STEPS = 2

transformers.logging.set_verbosity_error()
VERSION = f"transformers {transformers.__version__}, torch {torch.__version__}"


def with_chunk(model, chunk):
    for module in model.modules():
        if hasattr(module, "chunk_size"):
            module.chunk_size = chunk


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def train(work, threads, steps):
    from safetensors.torch import load_file

    work = Path(work)
    torch.set_num_threads(int(threads))
    config = json.loads((work / "config.json").read_text())
    shape = (config["batch_size"], config["train_length"])
    model = load(work / "model")

    with torch.no_grad():
        ours = load_file(work / "logits.safetensors")["logits"]
        theirs = model(torch.tensor(json.loads((work / "ids.json").read_text())), use_cache=False).logits
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

    def trial(chunk):
        with_chunk(model, chunk)
        return min(step() for _ in range(TRIAL_STEPS))

    chunk = min(CHUNKS, key=trial)
    with_chunk(model, chunk)
    seconds = [step() for _ in range(int(steps))]
    print(json.dumps({"version": f"{VERSION}, chunk {chunk}", "checked_error": error, "seconds": seconds}))


def generate(folder, prompt, tokens, threads):
    torch.set_num_threads(int(threads))
    model, tokens = load(folder).eval(), int(tokens)
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([list(Path(prompt).read_bytes())])

    def make(count):
        begun = time.perf_counter()
        with torch.no_grad():
            made = model.generate(prompt, max_new_tokens=count, do_sample=False, pad_token_id=0)
        return time.perf_counter() - begun, made[0, prompt.shape[1] :].tolist()

    make(2)
    read, _ = make(1)
    whole, made = make(tokens)
    print(json.dumps({"version": VERSION, "read": read, "made": whole - read, "tokens": made}))


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    {"train": train, "generate": generate}[verb](*rest)
