"""The report as a page."""


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def sizes(kernel):
    return " ".join(f"{name}{size}" for name, size in kernel["sizes"].items())


def static(kernels):
    """What the manifest knows of the kernels that would be timed; registers and spills are those of sm_90."""
    def assembled(kernel, key):
        return kernel.get("assembled", {}).get("sm_90", {}).get(key, "-")

    rows = [
        (k["name"], sizes(k), k["chunk"], k["heads"], k["threads"], k["stages"], k["shared_bytes"],
         assembled(k, "registers"), assembled(k, "spill_bytes"))
        for k in kernels
    ]
    head = ("kernel", "sizes", "chunk", "heads", "threads", "stages", "shared B", "registers", "spills")
    return table(head, rows)


def floor_rows(floors):
    rows = [(f["recurrence"], f["phase"], " ".join(f"{name}{size}" for name, size in f["shape"].items()),
             f"{f['bytes'] / 1e9:.3f}") for f in floors]
    return table(("recurrence", "phase", "shape", "GB"), rows)


def page(report):
    parts = ["# Kernels on a GPU", f"Kernels of {report['generator']}."]
    if not report["measured"]:
        parts += [f"**Not measured**: {report['why']}.", "What is known without a GPU:",
                  static(report["kernels"])]
        if report["floors"]:
            parts += ["Bytes that a bf16 run must move:", floor_rows(report["floors"])]
        return "\n\n".join(parts) + "\n"
    parts.append(f"{report['gpu']}, torch {report['torch']}, copy {report['copy_bytes_s'] / 1e12:.2f} TB/s "
                 f"measured; floors at {report['floor_bytes_s'] / 1e12:.2f} TB/s.")
    rows = []
    for found in report["checks"]:
        worst = max(found.get("errors", {"": float("nan")}).items(), key=lambda e: (e[1] != e[1], e[1]))
        verdict = "passes" if found.get("passes") else found.get("refused", "**fails**")
        rows.append((found["kernel"], sizes(found), found.get("registers", "-"), found.get("local_bytes", "-"),
                     f"{worst[1]:.1e} {worst[0]}", found.get("tolerance", "-"), verdict))
    parts += ["## Against the f64 reference",
              table(("kernel", "sizes", "registers", "local B", "worst error", "tolerance", ""), rows)]
    rows = []
    for t in report["timings"]:
        if "left_out" in t:
            continue
        shape = " ".join(f"{name}{size}" for name, size in t["shape"].items())
        ms = t["ms"]
        rows.append((t["by"], t["kernel"], t["phase"], shape, f"{ms['median']:.3f}",
                     f"{ms['p10']:.3f} to {ms['p90']:.3f}", f"{t['floor_ms']:.3f}" if t["floor_ms"] else "-",
                     f"{t['percent_of_floor']:.0f} %" if t["floor_ms"] else "-"))
    head = ("by", "kernel", "phase", "shape", "median ms", "p10 to p90", "floor ms", "of the floor")
    parts += ["## Times, L2 flushed", table(head, rows)]
    left = [f"{t['left_out']} at T{t['shape']['T']}" for t in report["timings"] if "left_out" in t]
    if left:
        parts.append(f"Not timed, as the minutes were over: {', '.join(left)}.")
    rows = [(label, f"{taken:.2f}") for label, taken in report["cold_start_s"].items()]
    parts += ["## Cold start, process start to first forward and backward", table(("", "s"), rows)]
    return "\n\n".join(parts) + "\n"
