"""What the benchmark page measures of recurrences, as data: sections, their cases, and the peers that each is run with.

A case is a recurrence, its sizes and a number of threads. How a peer runs one is in operations.py.
"""

from dataclasses import dataclass, replace

# glibc gives every block above 32 MiB back to the kernel when it is freed, and PyTorch keeps no CPU memory of its own: each
# call then pays page faults for its intermediates. `kept` is the same program with that turned off by glibc's documented
# variables. One is what an installation does, the other what the arithmetic costs. Ours keeps, by itself.
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}


@dataclass(frozen=True)
class Case:
    recurrence: str
    sizes: tuple  # of (letter, size)
    threads: int

    @property
    def name(self):
        sizes = " ".join(f"{letter}{size}" for letter, size in self.sizes)
        return f"{self.recurrence} {sizes}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def size(self, letter):
        return dict(self.sizes).get(letter, 1)


def case(recurrence, threads=2, **sizes):
    return Case(recurrence, tuple({"B": 1, **sizes}.items()), threads)


@dataclass(frozen=True)
class Section:
    title: str
    words: str
    cases: tuple
    peers: tuple = ("Baton",)
    rounds: int = 2
    seconds: float = 1.0
    # Which phases a page shows; a peer's forward counts as `step` where the case is one.
    phases: tuple = ("forward", "backward")


SSD = {"H": 80, "G": 1, "N": 128, "P": 64}
WIDE = {"H": 16, "K": 128, "V": 128}
LENGTHS = tuple(1 << power for power in range(6, 21, 2))

EVERY = ("Baton", "ggml", "torch", "torch, memory kept", "torch compiled, memory kept", "fla, memory kept")
BEST = ("Baton", "ggml", "torch, memory kept")
STEPS = ("Baton", "ggml", "torch", "torch compiled")

SECTIONS = {
    "ssd": Section(
        "SSD (Mamba-2)",
        "The layer of Mamba-2's 2.7 B model, every peer.",
        (case("mamba2", T=2048, **SSD),),
        EVERY,
        seconds=1.0,
        phases=("forward", "forward_keep", "backward"),
    ),
    "family": Section(
        "The family",
        "A member of every class on one thread. Where no state is a matrix heads are rows, and there are no products to take a share of.",
        (
            case("mamba2", 1, T=2048, H=16, G=1, N=128, P=64),
            case("gla", 1, T=2048, **WIDE),
            case("delta_net", 1, T=2048, **WIDE),
            case("gated_delta_net", 1, T=2048, **WIDE),
            case("kda", 1, T=2048, **WIDE),
            case("rwkv7", 1, T=2048, H=16, K=64, V=64),
            case("mlstm", 1, T=2048, H=8, K=64, V=64),
            case("mlstm_sigmoid", 1, T=2048, H=8, K=64, V=64),
            case("mamba3", 1, T=2048, H=16, R=64, V=64),
            case("mamba1", 1, T=2048, H=1536, N=16),
            case("longhorn", 1, T=2048, H=1536, N=16),
            case("rg_lru", 1, T=2048, H=2560),
            case("min_gru", 1, T=2048, H=1536),
        ),
        ("Baton", "ggml", "torch, memory kept", "fla, memory kept"),
    ),
    "length": Section(
        "Cost against length",
        "SSD of 4 heads from 64 steps to a million: time, and the most memory that the whole process had.",
        tuple(case("mamba2", T=steps, H=4, G=1, N=64, P=64) for steps in LENGTHS),
        BEST,
        seconds=0.5,
    ),
    "sizes": Section(
        "Cost against heads, batch and threads",
        "SSD, one size changed at a time.",
        (
            *(case("mamba2", T=2048, H=heads, G=1, N=128, P=64) for heads in (1, 4, 16)),
            *(case("mamba2", B=batch, T=512, H=8, G=1, N=64, P=64) for batch in (1, 4, 16)),
            case("mamba2", 1, T=2048, H=16, G=1, N=128, P=64),
        ),
        BEST,
    ),
    "decode": Section(
        "A decode step",
        "One token from given states: every state is moved in and out once. Microseconds.",
        (
            case("mamba2", T=1, **SSD),
            case("gated_delta_net", T=1, **WIDE),
            case("kda", T=1, **WIDE),
            case("mamba1", T=1, H=1536, N=16),
        ),
        STEPS,
        seconds=0.5,
        phases=("step",),
    ),
    "few-steps": Section(
        "A few steps at a time",
        "A forward run on so many steps in one call, as a prompt's end and a draft are, on one thread; in brackets how many single decode steps that is.",
        tuple(
            case(name, 1, T=steps, **sizes)
            for name, sizes in (
                ("mamba2", {"H": 64, "G": 1, "N": 128, "P": 64}),
                ("gla", WIDE),
                ("gated_delta_net", WIDE),
                ("kda", WIDE),
                ("mlstm", {"H": 8, "K": 64, "V": 64}),
                ("mamba1", {"H": 1536, "N": 16}),
                ("rg_lru", {"H": 2560}),
            )
            for steps in (1, 2, 4, 8, 16)
        ),
        rounds=1,
        seconds=0.1,
        phases=("forward", "step"),
    ),
    "launch": Section(
        "What a call costs",
        "A step so small (one head, a state of 4 x 4) that the time is the host's. Microseconds.",
        tuple(case("mamba2", threads, T=1, H=1, G=1, N=4, P=4) for threads in (1, 2))
        + tuple(case("gated_delta_net", threads, T=1, H=1, K=4, V=4) for threads in (1, 2)),
        STEPS,
        seconds=0.3,
        phases=("step",),
    ),
}


def small(section):
    """The same section with next to no work in it, for trying the driver out; a model stays as it is."""
    most = {"T": 64, "H": 4, "B": 2}

    def less(one):
        return replace(one, sizes=tuple((letter, min(size, most.get(letter, 8))) for letter, size in one.sizes))

    cases = (one if one.recurrence.endswith("model") else less(one) for one in section.cases)
    return replace(section, cases=tuple(dict.fromkeys(cases)), rounds=1, seconds=0.01)
