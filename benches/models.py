"""Whole models on the benchmark page: a training step, and a prompt read and tokens made, beside other libraries.

Ours trains a few steps, writes the model in the layout of transformers, and peers load these very weights. A peer's
training counts only if it has our logits, its text only if it makes our first AGREED tokens.
"""

import json
import os
import random
from pathlib import Path
from statistics import median

from machine import Failed
from sections import KEPT, Section, case

CONFIG = Path(__file__).resolve().parent / "training.json"
WARM_UP = 2
STEPS = 10
AGREED = 16
PROMPT, TOKENS = 2048, 128
BLOCKS = {"mamba2-model": None, "mamba1-model": {"type": "mamba1"}}

SECTIONS = {
    "training": Section(
        "A training step",
        "Mamba-2 of 1.86 M parameters (4 layers of 256), batch 8 x 256: forward, backward, clipping and AdamW.",
        (case("mamba2-model", B=8, T=256),),
        ("Baton", "transformers, memory kept"),
        phases=("train",),
    ),
    "models": Section(
        "Whole models",
        "Models of that size: a prompt of 2048 tokens read, and a greedy token made after it. Ours is cold, its kernels are "
        "compiled while it reads.",
        tuple(case(block, T=PROMPT) for block in BLOCKS),
        ("Baton", "transformers, memory kept", "candle", "mamba-rs"),
        phases=("read", "token"),
    ),
}


class Models:
    """The runs of one section, on models that ours wrote into a folder."""

    def __init__(self, machine, section, folder):
        self.machine, self.section, self.folder = machine, section, Path(folder)
        draw = random.Random(1)
        (self.folder / "text.bin").write_bytes(bytes(draw.randrange(256) for _ in range(200_000)))
        (self.folder / "prompt.txt").write_bytes(bytes(draw.randrange(32, 127) for _ in range(PROMPT)))
        (self.folder / "ids.json").write_text(json.dumps([[draw.randrange(256) for _ in range(300)] for _ in range(2)]))

    def run(self, case, peer, round_):
        if peer != "Baton":
            if peer == "mamba-rs" and case.recurrence != "mamba1-model":
                raise Failed("0.4.2, the last that this Rust compiles, has no Mamba-2")
            why = self.machine.missing("transformers" if peer.startswith("transformers") else "rust")
            if why:
                raise Failed(why)
        done, record = (training if self.section.phases == ("train",) else text)(self, case, peer, round_)
        return done, {"cold_start_ms": None, **record}

    def train(self, block, threads, name):
        """Seconds of each step, and the whole run."""
        config = json.loads(CONFIG.read_text())
        config["schedule"]["steps"] = STEPS
        if BLOCKS[block]:
            config["model"]["block"] = BLOCKS[block]
        (self.folder / "config.json").write_text(json.dumps(config))
        place = self.folder / name
        arguments = ("train", "--config", self.folder / "config.json", "--text", self.folder / "text.bin", "--folder", place)
        done = self.machine.run("baton", (*map(str, arguments), "--threads", str(threads), "--quiet", "--json"))
        lines = map(json.loads, (place / "metrics.jsonl").read_text().splitlines())
        clock = [0.0] + [line["seconds"] for line in lines]
        return done, [after - before for before, after in zip(clock, clock[1:])]

    def model(self, block, threads):
        """The folder of a model in the layout of transformers."""
        place = self.folder / f"{block}/model"
        if not place.exists():
            self.train(block, threads, block)
            run, files = self.machine.run, self.folder
            run("baton", ("convert", "--from", str(files / block), "--to", str(place), "--layout", "hugging-face", "--json"))
        return place

    def logits(self, model, threads):
        """Our logits for the ids, where `train` of the peer looks for them."""
        ids = self.folder / "ids.safetensors"
        rows = json.loads((self.folder / "ids.json").read_text())
        numbers = b"".join(number.to_bytes(8, "little") for row in rows for number in row)
        header = {"input_ids": {"dtype": "I64", "shape": [len(rows), len(rows[0])], "data_offsets": [0, len(numbers)]}}
        header = json.dumps(header).encode()
        ids.write_bytes(len(header).to_bytes(8, "little") + header + numbers)
        arguments = ("--checkpoint", model, "--inputs", ids, "--output", self.folder / "logits.safetensors")
        self.machine.run("baton", ("eval", "logits", *map(str, arguments), "--threads", str(threads), "--json"))
        link = self.folder / "model"
        if not link.exists():
            os.symlink(model, link)


def steps(seconds):
    return {"train": {"median_ms": 1e3 * median(seconds[WARM_UP:])}}


def texts(read, made, tokens):
    return {"read": {"median_ms": 1e3 * read}, "token": {"median_ms": 1e3 * made / (tokens - 1)}}


def training(models, case, peer, round_):
    if peer == "Baton":
        if round_ == 0:
            models.logits(models.model(case.recurrence, case.threads), case.threads)
        done, seconds = models.train(case.recurrence, case.threads, f"ours-{round_}")
        return done, {"checked_error": None, "phases": steps(seconds)}
    kept = KEPT.items() if peer.endswith("kept") else ()
    arguments = ("train", str(models.folder), str(case.threads), str(STEPS))
    done = models.machine.run("transformers_peer.py", arguments, kept)
    record = done.json()
    return done, {**record, "phases": steps(record["seconds"])}


def text(models, case, peer, round_):
    """Greedy tokens after a prompt; ours go first, and are kept for the others to be compared with."""
    model, prompt = str(models.model(case.recurrence, case.threads)), str(models.folder / "prompt.txt")
    if peer == "Baton":
        asked = ("--checkpoint", model, "--prompt-file", prompt, "--tokens", str(TOKENS), "--threads", str(case.threads))
        done = models.machine.run("baton", ("generate", *asked, "--ignore-end", "--json"))
        record = done.json()
        models.tokens = record["sequences"][0]["tokens"]
        return done, {"checked_error": None, "phases": texts(record["read"]["seconds"], record["made"]["seconds"], TOKENS)}
    if peer.startswith("transformers"):
        done = models.machine.run("transformers_peer.py", ("generate", model, prompt, str(TOKENS), str(case.threads)), KEPT.items())
    else:
        threads = {"RAYON_NUM_THREADS": str(case.threads)}
        done = models.machine.run("rust/release/baton-peers", (peer, model, prompt, str(TOKENS)), threads.items())
    record = done.json()
    same = [mine == their for mine, their in zip(models.tokens, record["tokens"][:AGREED])]
    if not all(same) or len(same) < AGREED:
        raise Failed(f"its tokens are others than ours from token {same.index(False) if False in same else len(same)} on")
    return done, {**record, "checked_error": None, "phases": texts(record["read"], record["made"], TOKENS)}


