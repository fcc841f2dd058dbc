"""Turns one run of table.sh (JSON) into the Markdown table of the README.

Ours ran several times around the peers; each figure is the median of its medians, with the least
and the greatest of them, so that a machine that drifts shows.
"""

import json
import statistics
import sys

records = json.load(open(sys.argv[1]))
ours = [r for r in records if "beside" in r]
peers = [r for r in records if "beside" not in r]
if not ours:
    sys.exit("no run of ours in the file")


def spread(values):
    return f"{statistics.median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}"


machine = ours[0]["machine"]
rows = []
for name, phase in [("forward", "forward"), ("forward_keep", "forward, keeping states"), ("backward", "backward")]:
    median, range_ = spread([r[name]["median_ms"] for r in ours])
    share = statistics.median(r[name]["peak_share"] for r in ours)
    rows.append(("**Baton**", phase, median, f"{range_} over {len(ours)} runs, {share:.0%} of peak"))
median, range_ = spread([1e3 * r["step"]["median_ms"] for r in ours])
rows.append(("**Baton**", "one decode step", f"{float(median) / 1e3:.3f}", f"{range_} us"))
median, range_ = spread([r["cold_start_ms"] for r in ours])
rows.append(("**Baton**", "process start to first forward and backward", median, f"{range_}; inputs made, code compiled"))
for r in peers:
    rows.append((r["peer"], r["phase"], f"{r['median_ms']:.1f}", f"{r['p10_ms']:.1f} to {r['p90_ms']:.1f} (p10, p90)"))

print(f"SSD (Mamba-2), B1 T2048 H80 P64 N128 G1, f32, 2 threads, on {machine['cpu']} with a measured")
print(f"FMA peak of {machine['peak_gflops']:.0f} GFLOP/s ({machine['peak_instructions']}).\n")
print("| | phase | median ms | spread |\n|---|---|--:|---|")
for row in rows:
    print("| " + " | ".join(row) + " |")
