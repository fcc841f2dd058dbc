"""Bytes that a run must move at least, and the times they take: what a kernel is measured against.

Counted is every tensor read or written once, the state on chip. Symbols: th = B T H, tk = B T,
e = bytes of a number in storage, Q = steps between the entering states kept for the backward.
"""

# Bytes a second of a plain copy; other GPUs are measured in the run.
COPY = {"H100": 3.0e12, "H200": 4.3e12}

# Recurrence to (B, H, G, sizes): the shapes that are timed, at each T.
SHAPES = {
    "mamba2": (8, 80, 1, {"N": 128, "P": 64}),
    "linear_attention": (8, 16, 16, {"K": 128, "V": 128}),
    "simple_gla": (8, 16, 16, {"K": 128, "V": 128}),
    "gla": (8, 16, 16, {"K": 128, "V": 128}),
}
TIMES = (2048, 4096, 8192, 16384)


def floor_bytes(recurrence, phase, batch, time, heads, groups, sizes, chunk, e=2):
    """Bytes of one run of `phase`: forward, keep (forward that keeps entering states) or backward."""
    tk, th = batch * time, batch * time * heads
    if recurrence == "mamba2":
        n, p = sizes["N"], sizes["P"]
        forward = 2 * th * p * e + 2 * tk * groups * n * e + 4 * th + 4 * batch * heads * n * p
        kept = th * n * p * e // chunk
        backward = 3 * th * p * e + 4 * tk * groups * n * e + 8 * th + kept
    else:
        k, v = sizes["K"], sizes["V"]
        gate = {"linear_attention": 0, "simple_gla": 4 * th, "gla": e * k * th}[recurrence]
        forward = th * e * (2 * k + 2 * v) + gate + 4 * batch * heads * k * v
        kept = th * k * v * e // chunk
        backward = th * e * (4 * k + 3 * v) + 2 * gate + kept
    return {"forward": forward, "keep": forward + kept, "backward": backward}[phase]


def is_timed(kernel):
    """Whether a kernel of a manifest is timed."""
    timed = SHAPES.get(kernel["recurrence"], (None,))[-1] == kernel["sizes"]
    return timed and kernel["phase"] in ("forward", "keep", "backward")


def copy_rate(gpu):
    """Bytes a second of a copy on the GPU of this name, or None."""
    return next((rate for name, rate in COPY.items() if name in gpu), None)
