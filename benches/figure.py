"""The figure of the benchmarks: forward time and the process's memory against length, both axes in powers.

Written as SVG by hand, with colours as roles, so that one file serves light and dark pages.
"""

from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, TOP, GAP = 360, 260, 56, 40, 70
STYLE = """
  text { font: 12px sans-serif; fill: #222 } .grid { stroke: #ddd } .line { fill: none; stroke-width: 2 }
  .a { stroke: #0b6e99; fill: #0b6e99 } .b { stroke: #c2571a; fill: #c2571a } .c { stroke: #6b4fa0; fill: #6b4fa0 } .line { fill: none }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #444 }
    .a { stroke: #5bc0eb; fill: #5bc0eb } .b { stroke: #f4a261; fill: #f4a261 } .c { stroke: #b79ced; fill: #b79ced } .line { fill: none } }
"""
MARKS = "abc"


def of_lengths(rows):
    rows = [row for row in rows if "missing" not in row]
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    panels = [
        ("forward, ms", lambda row: row["phases"]["forward"]["median_ms"]),
        ("most memory of the process, MiB", lambda row: row["peak_mib"]),
    ]
    body = [panel(i, title, rows, peers, value) for i, (title, value) in enumerate(panels)]
    for i, peer in enumerate(peers):
        x = LEFT + 190 * i
        body.append(f'<circle cx="{x}" cy="14" r="4" class="{MARKS[i % 3]}"/><text x="{x + 10}" y="18">{peer}</text>')
    size = f'width="{2 * (WIDTH + GAP) + 20}" height="{HEIGHT + TOP + 50}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>Cost against length</title>' + \
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"


def panel(index, title, rows, peers, value):
    left = LEFT + index * (WIDTH + GAP)
    steps = [row["sizes"]["T"] for row in rows]
    values = [value(row) for row in rows]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    across = lambda time: left + (log10(time) - log10(min(steps))) / (log10(max(steps)) - log10(min(steps)) or 1) * WIDTH
    up = lambda y: TOP + HEIGHT - (log10(y) - low) / ((high - low) or 1) * HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 8}">{title}</text>']
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10**power if power >= 0 else 10.0**power:g}</text>')
    for time in sorted(set(steps)):
        parts.append(f'<text x="{across(time):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{short(time)}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">steps</text>')
    for i, peer in enumerate(peers):
        points = [(across(row["sizes"]["T"]), up(value(row))) for row in rows if row["peer"] == peer]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line {MARKS[i % 3]}" points="{path}"/>')
        parts += [f'<circle class="{MARKS[i % 3]}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return "\n".join(parts)


def short(time):
    for size, letter in ((1 << 20, "Mi"), (1 << 10, "Ki")):
        if time >= size:
            return f"{time // size} {letter}"
    return str(time)
