"""The page of the benchmarks from bench.json: Markdown, a figure, and the tables of README between its markers.

Everything here is written from the results and nothing is measured. A table that README shows is the same text as on the
page (tests/it/tidy/figures.rs holds it to the results). Cells are times; in brackets how many times ours that is, by the median
of the rounds' own ratios.
"""

import json
import re

import figure

COLUMNS = {
    "forward": "forward",
    "forward_keep": "keeping states",
    "backward": "backward",
    "step": "step",
    "train": "training",
    "read": "reading",
    "token": "making",
}
# Sections whose times are in microseconds, and those that are tokens a second.
MICRO = ("decode", "launch")
TOKENS = ("training", "models")


def save(file, results):
    """One row a line, so that a change of one is a change of one line."""
    parts = []
    for name, section in results["sections"].items():
        head = json.dumps({key: value for key, value in section.items() if key != "rows"})
        rows = ",\n".join(f"   {json.dumps(row)}" for row in section["rows"])
        parts.append(f'  {json.dumps(name)}: {head[:-1]}, "rows": [\n{rows}\n  ]}}')
    machine = json.dumps(results["machine"])
    file.write_text(f'{{\n "machine": {machine},\n "sections": {{\n' + ",\n".join(parts) + "\n }\n}\n")


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(name, row, phase):
    found = row["phases"].get(phase)
    if found is None:
        return "-"
    milliseconds = found["median_ms"]
    if name in TOKENS:
        sizes = row["sizes"]
        tokens = {"train": sizes["B"] * sizes["T"], "read": sizes["T"], "token": 1}[phase]
        text = f"{1e3 * tokens / milliseconds:.0f}"
    else:
        text = number(1e3 * milliseconds if name in MICRO else milliseconds)
    over = found.get("over_ours")
    return f"{text} ({number(over[1])})" if over else text


def table(name, section, rows):
    """A row for each peer of each case."""
    rows = [row for row in rows if "missing" not in row]
    unit = "tokens/s" if name in TOKENS else "us" if name in MICRO else "ms"
    shares = any("peak_share" in row["phases"].get(section.phases[0], {}) for row in rows)
    cold = any(row.get("cold_start_ms") is not None for row in rows)
    memory = any(row.get("peak_mib") is not None for row in rows)
    head = ["", *(f"{COLUMNS[phase]} {unit}" for phase in section.phases)]
    head += ["of peak"] * shares + ["cold start ms"] * cold + ["most memory MiB"] * memory
    many = len(section.cases) > 1
    lines = ["| " + " | ".join(["case", *head] if many else head) + " |"]
    lines.append("|---|" + "---|" * many + "--:|" * (len(head) - 1))
    before = None
    for row in rows:
        peer = "**Baton**" if row["peer"] == "Baton" else row["peer"]
        cells = [peer, *(cell(name, row, phase) for phase in section.phases)]
        if shares:
            share = row["phases"].get(section.phases[0], {}).get("peak_share")
            cells.append(f"{share:.0%}" if share else "-")
        for key, shown in (("cold_start_ms", cold), ("peak_mib", memory)):
            cells += ["-" if row[key] is None else f"{row[key]:.0f}"] * shown
        if many:
            cells = ["" if row["case"] == before else f"`{row['case']}`", *cells]
        lines.append("| " + " | ".join(cells) + " |")
        before = row["case"]
    return lines


def few_steps(rows):
    """A line for each member, its cells by the number of steps."""
    times = sorted({row["sizes"]["T"] for row in rows})
    lines = ["| member | one step us | " + " | ".join(f"T = {time}" for time in times) + " |", "|---|--:|" + "--:|" * len(times)]
    for name in dict.fromkeys(row["recurrence"] for row in rows):
        own = [row for row in rows if row["recurrence"] == name]
        step = sorted(row["phases"]["step"]["median_ms"] for row in own)[len(own) // 2]
        cells = (row["phases"]["forward"]["median_ms"] for row in own)
        cells = (f"{number(1e3 * time)} ({number(time / step)})" for time in cells)
        lines.append(f"| `{name}` | {number(1e3 * step)} | " + " | ".join(cells) + " |")
    return lines


def criterion(rows):
    lines = ["| benchmark | median us |", "|---|--:|"]
    for row in rows:
        lines += [f"| {name} | {number(1e3 * found['median_ms'])} |" for name, found in row["phases"].items()]
    return lines


def missing(rows):
    """What could not be measured: a peer with its reason, and what it is of unless it is of all."""
    recurrences = {}
    for row in rows:
        recurrences.setdefault(row["recurrence"], set()).add(row["case"])
    by_reason = {}
    for row in rows:
        if "missing" in row:
            by_reason.setdefault((row["peer"], row["missing"]), []).append(row["case"])
    for (peer, why), of in by_reason.items():
        whole = [name for name, cases in recurrences.items() if cases <= set(of)]
        rest = [case for case in of if not any(case in recurrences[name] for name in whole)]
        names = "" if len(whole) == len(recurrences) else " of " + ", ".join(f"`{name}`" for name in whole + rest)
        yield f"- missing: {peer}{names}: {why}"


def conditions(name, found, machine):
    peaks = [row["peak_gflops"] for row in found["rows"] if "peak_gflops" in row]
    peak = f" Peak of fused multiply-adds, measured in these runs: {max(peaks):.0f} GFLOP/s." if peaks else ""
    meanwhile = (
        ", by a command before there was this page, which recorded neither memory nor what else ran and did not compare ours with f64; "
        "ratios are of medians"
    )
    if found["others"]:
        middle, most = found["others"]
        meanwhile = f", {found['seconds']} s in all; other programs had {middle:.0%} of the cores meanwhile, {most:.0%} at most"
    return (
        f"f32, {machine['cores']} cores of {machine['cpu']} ({machine['memory_gib']:.0f} GiB), {found['rounds']} round{'s' if found['rounds'] > 1 else ''}"
        f"{meanwhile}.{peak} {found['version']}, {found['date']}; `make bench BENCH={name}` measures it."
    )


def block(name, section, found, machine):
    rows = found["rows"]
    lines = [conditions(name, found, machine), ""]
    special = {"few-steps": few_steps, "criterion": criterion}.get(name)
    lines += special(rows) if special else table(name, section, rows)
    absent = list(missing(rows))
    lines += ["", *absent] if absent else []
    if len(section.cases) == 1:
        lines.insert(0, f"`{section.cases[0].name}`: ")
        lines[0:2] = [lines[0] + lines[1]]
    return "\n".join(lines)


def versions(results):
    found = {}
    for section in results["sections"].values():
        for row in section["rows"]:
            if "version" in row:
                found.setdefault(row["version"], None)
    return ", ".join(found)


def page(results, sections):
    text = [
        "# Benchmarks",
        "",
        "Ours beside other CPU implementations of the same recurrences, in one run, in turns: times are medians, in brackets how many times "
        "ours a time is, by the median of the rounds' own ratios. Recurrences of every side are compared with an f64 one before a time counts, models "
        "of peers with ours ([what the peers are](../peers/README.md)); what a section was measured by otherwise, it says. The cold start is from the beginning of the process to the first results, and gradients where there are "
        "any, with everything that is loaded and compiled; all other times are warm. Memory is the most that the whole process had. "
        "`memory kept`: freed memory stays in the process, which ours does by itself. Ratios can be compared, times of different sections cannot.",
        "",
        f"Versions: {versions(results)}. `make bench` measures all of it and writes this page; the figures are [bench.json](bench.json).",
    ]
    for name, section in sections.items():
        found = results["sections"].get(name)
        text += ["", f"## {section.title}", "", section.words, ""]
        if found is None:
            text.append(f"Not measured yet: `make bench BENCH={name}`.")
            continue
        if name == "length":
            text += ["![Time and memory by length](bench.svg)", ""]
        text.append(block(name, section, found, results["machine"]))
    return "\n".join(text) + "\n"


def write(file, folder, readme, sections):
    results = json.loads(file.read_text())
    (folder / "bench.md").write_text(page(results, sections))
    if "length" in results["sections"]:
        (folder / "bench.svg").write_text(figure.of_lengths(results["sections"]["length"]["rows"]))
    if readme is None:
        return
    text = readme.read_text()
    for name in re.findall(r"<!-- bench (\S+) -->", text):
        found = results["sections"].get(name)
        if found is None:
            continue
        between = re.compile(rf"(<!-- bench {name} -->\n).*?(<!-- end of bench -->)", re.DOTALL)
        shown = block(name, sections[name], found, results["machine"])
        text = between.sub(lambda match: match[1] + shown + "\n" + match[2], text)
    readme.write_text(text)
