"""The figure of docs/retrieval.md: how each model reads on past its training length, and what it finds there.

One SVG of two panels with one axis of lengths each, in powers of two; a band is the 95 % interval of what was found. Colours are
roles, so that one file serves light and dark pages.
"""

from math import log2

WIDTH, HEIGHT, LEFT, TOP, GAP = 360, 260, 60, 32, 76
STYLE = """
  text { font: 12px sans-serif; fill: #222 } .grid { stroke: #ddd } .line { fill: none; stroke-width: 2 } .band { opacity: 0.15; stroke: none }
  .m0 { stroke: #0b6e99; fill: #0b6e99 } .m1 { stroke: #c2571a; fill: #c2571a } .m2 { stroke: #6b4fa0; fill: #6b4fa0 }
  .m3 { stroke: #2a7d4f; fill: #2a7d4f } .m4 { stroke: #8a6d00; fill: #8a6d00 } .line { fill: none }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #444 }
    .m0 { stroke: #5bc0eb; fill: #5bc0eb } .m1 { stroke: #f4a261; fill: #f4a261 } .m2 { stroke: #b79ced; fill: #b79ced }
    .m3 { stroke: #7bd3a0; fill: #7bd3a0 } .m4 { stroke: #e0c050; fill: #e0c050 } .line { fill: none } }
"""


def figure(panels, short):
    """Panels are a title, its marks on the axis of values, and for each model its points: length, value, least, most."""
    names = list(dict.fromkeys(name for _, _, models in panels for name in models))
    across = 2 * len(panels)
    body = []
    for i, name in enumerate(names):
        x, y = LEFT + 200 * (i % across), TOP + HEIGHT + 62 + 20 * (i // across)
        body.append(f'<circle cx="{x}" cy="{y - 4}" r="4" class="m{i % 5}"/><text x="{x + 10}" y="{y}">{name}</text>')
    body += [panel(i, *one, names, short) for i, one in enumerate(panels)]
    size = f'width="{LEFT + len(panels) * (WIDTH + GAP)}" height="{TOP + HEIGHT + 52 + 20 * -(-len(names) // across)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>Reading on, and finding</title>' + \
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"


def panel(index, title, marks, models, names, short):
    left = LEFT + index * (WIDTH + GAP)
    lengths = sorted({point[0] for points in models.values() for point in points})
    begin, end = log2(lengths[0]), log2(lengths[-1])
    across = lambda length: left + (log2(length) - begin) / ((end - begin) or 1) * WIDTH
    up = lambda value: TOP + HEIGHT - (min(max(value, marks[0]), marks[-1]) - marks[0]) / (marks[-1] - marks[0]) * HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 12}">{title}</text>']
    for mark in marks:
        parts.append(f'<line class="grid" x1="{left}" x2="{left + WIDTH}" y1="{up(mark):.1f}" y2="{up(mark):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{up(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
    last = -1e9
    for length in lengths:
        if across(length) - last > 34:
            last = across(length)
            parts.append(f'<text x="{last:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{short(length)}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">bytes</text>')
    for name, points in models.items():
        mark = f"m{names.index(name) % 5}"
        places = [(across(length), up(value), up(least), up(most)) for length, value, least, most in points]
        band = [(x, most) for x, _, _, most in places] + [(x, least) for x, _, least, _ in reversed(places)]
        for kind, line in (("polygon", band), ("polyline", [place[:2] for place in places])):
            drawn = "band" if kind == "polygon" else "line"
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<{kind} class="{drawn} {mark}" points="{path}"/>')
        parts += [f'<circle class="{mark}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="3"/>' for place in places]
    return "\n".join(parts)
