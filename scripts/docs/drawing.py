"""Flow charts as SVG from the part of Mermaid that the pages use: ``a & b --> c --> d`` and ``-. reason .->``.

The browser's Mermaid would come from the network, or add three megabytes to the site. Nodes lie in layers by the
longest way that leads to them, each layer in the order that crosses the fewest lines.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape

WIDTH, HEIGHT, GAP_X, GAP_Y, CHARACTER = 46, 34, 26, 40, 7.6
_ARROW = re.compile(r"\s*(-->|-\.(?:[^.]*\.)?->|-\.\s[^>]*\s\.->)\s*")
_NODE = re.compile(r"^(\w+)(?:\[+\(?(.*?)\)?\]+)?$")

Edge = tuple[str, str, bool]


def edges(source: str) -> tuple[list[Edge], dict[str, str]]:
    """Return arrows (from, to, whether dashed) and the labels of nodes, in the order of the text."""
    arrows: list[Edge] = []
    labels: dict[str, str] = {}
    for line in map(str.strip, source.splitlines()):
        if not line or line.startswith(("flowchart", "%%")):
            continue
        parts = _ARROW.split(line)
        groups = [[_node(name, labels) for name in part.split("&")] for part in parts[::2]]
        for arrow, before, after in zip(parts[1::2], groups, groups[1:], strict=False):
            arrows += [(a, b, arrow != "-->") for a in before for b in after]
    return list(dict.fromkeys(arrows)), labels


def draw(source: str) -> str:
    """Return the chart as an SVG element that takes the page's colours.

    Raises:
        ValueError: a node is written in a way that is not known here, or arrows lead round in a circle.
    """
    arrows, labels = edges(source)
    layers = _layers(arrows, labels)
    widths = {name: WIDTH + CHARACTER * len(label) for name, label in labels.items()}
    rows = [sum(widths[name] for name in layer) + GAP_X * (len(layer) - 1) for layer in layers]
    total = max(rows) + 2 * GAP_X
    places: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        x = (total - rows[depth]) / 2
        for name in layer:
            places[name] = (x, depth * (HEIGHT + GAP_Y) + 4)
            x += widths[name] + GAP_X
    height = len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 8
    parts = [_line(a, b, dashed, places, widths) for a, b, dashed in arrows]
    parts += [_box(*places[name], widths[name], label) for name, label in labels.items()]
    head = f'<svg class="chart" viewBox="0 0 {total:.0f} {height}" width="{total:.0f}" role="img" aria-label="flow chart">'
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    return f'<div class="chart-frame">{head}{marker}{"".join(parts)}</svg></div>'


def _node(text: str, labels: dict[str, str]) -> str:
    match = _NODE.match(text.strip())
    if match is None:
        raise ValueError(f"flow chart: '{text.strip()}' is no name, name[label] or name[(label)]")
    name = match[1]
    if match[2] or name not in labels:
        labels[name] = match[2] or name
    return name


def _layers(arrows: list[Edge], labels: dict[str, str]) -> list[list[str]]:
    depth = dict.fromkeys(labels, 0)
    for _ in labels:
        longer = {b: depth[a] + 1 for a, b, _ in arrows if depth[b] <= depth[a]}
        if not longer:
            break
        depth |= longer
    else:
        raise ValueError("flow chart: arrows lead round in a circle")
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in labels:
        layers[depth[name]].append(name)
    return _uncrossed(layers, arrows)


def _uncrossed(layers: list[list[str]], arrows: list[Edge]) -> list[list[str]]:
    """Sort each layer by the mean place of its neighbours, down and up a few times."""
    neighbours = defaultdict(list)
    for a, b, _ in arrows:
        neighbours[a].append(b)
        neighbours[b].append(a)
    for sweep in range(8):
        place = {name: (index + 0.5) / len(layer) for layer in layers for index, name in enumerate(layer)}
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            means = {n: sum(place[m] for m in neighbours[n]) / max(1, len(neighbours[n])) for n in layer}
            layer.sort(key=lambda name: means[name])
            place |= {name: (index + 0.5) / len(layer) for index, name in enumerate(layer)}
    return layers


def _line(a: str, b: str, dashed: bool, places: dict[str, tuple[float, float]], widths: dict[str, float]) -> str:
    x1, y1 = places[a][0] + widths[a] / 2, places[a][1] + HEIGHT
    x2, y2 = places[b][0] + widths[b] / 2, places[b][1]
    bend = max(GAP_Y / 2, (y2 - y1) / 2)
    style = ' stroke-dasharray="5 4"' if dashed else ""
    path = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"{style}/>'


def _box(x: float, y: float, width: float, label: str) -> str:
    text = f'<text x="{x + width / 2:.0f}" y="{y + HEIGHT / 2 + 5:.0f}">{escape(label)}</text>'
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6"/>{text}'
