"""Flow charts as SVG from the part of Mermaid that the pages use: ``a & b --> c --> d`` and ``-. reason .->``.

The browser's Mermaid would come from the network, or add three megabytes to the site. Nodes lie in layers by the
longest way that leads to them (Sugiyama's scheme): a long arrow has a bend in every layer that it crosses, and each
layer is sorted so that few arrows cross.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from itertools import pairwise

PADDING, HEIGHT, GAP_X, GAP_Y, CHARACTER = 24, 34, 22, 30, 7.9
_ARROW = re.compile(r"\s*(-->|-\.->|-\.\s[^.>]*\.->)\s*")
_NODE = re.compile(r"^\w+$")

Edge = tuple[str, str, bool]
Point = tuple[float, float]


def edges(source: str) -> list[Edge]:
    """Return the arrows of a chart (from, to, whether dashed), in the order of the text.

    Raises:
        ValueError: a node is no plain name.
    """
    arrows: list[Edge] = []
    for line in map(str.strip, source.splitlines()):
        if not line or line.startswith("flowchart"):
            continue
        parts = _ARROW.split(line)
        groups = [[name.strip() for name in part.split("&")] for part in parts[::2]]
        if wrong := [name for group in groups for name in group if not _NODE.match(name)]:
            raise ValueError(f"flow chart: '{wrong[0]}' is no plain name")
        for arrow, before, after in zip(parts[1::2], groups, groups[1:], strict=False):
            arrows += [(a, b, arrow != "-->") for a in before for b in after]
    return list(dict.fromkeys(arrows))


def draw(source: str) -> str:
    """Return the chart as an SVG element that takes the page's colours.

    Raises:
        ValueError: a node is written in a way that is not known here, or arrows lead round in a circle.
    """
    arrows = edges(source)
    depth = _depths(arrows)
    ways = {arrow: _way(arrow, depth) for arrow in arrows}
    layers = _uncrossed(_layers(depth, ways), [pair for way in ways.values() for pair in pairwise(way)])
    widths = {name: PADDING + CHARACTER * len(name) if name in depth else GAP_X / 2 for row in layers for name in row}
    centres, total = _places(layers, widths)
    height = len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 8
    parts = [_line([centres[name] for name in way], dashed) for (_, _, dashed), way in ways.items()]
    parts += [_box(centres[name], widths[name], name) for name in depth]
    head = (
        f'<svg class="chart" viewBox="0 0 {total:.0f} {height}" width="{total:.0f}" role="img" aria-label="flow chart">'
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    return f'<div class="chart-frame">{head}{marker}{"".join(parts)}</svg></div>'


def _depths(arrows: list[Edge]) -> dict[str, int]:
    """Return the layer of each node: the longest way that leads to it, or one before what it leads to at once."""
    depth = dict.fromkeys((name for a, b, _ in arrows for name in (a, b)), 0)
    for _ in depth:
        deeper = [(a, b) for a, b, _ in arrows if depth[b] <= depth[a]]
        if not deeper:
            return depth
        for a, b in deeper:
            depth[b] = max(depth[b], depth[a] + 1)
    if any(depth[b] <= depth[a] for a, b, _ in arrows):
        raise ValueError("flow chart: arrows lead round in a circle")
    return depth


def _way(arrow: Edge, depth: dict[str, int]) -> list[str]:
    """Return the nodes of an arrow, with a bend, named by the arrow, for each layer between them."""
    a, b, _ = arrow
    return [a, *(f"{a}>{b}:{layer}" for layer in range(depth[a] + 1, depth[b])), b]


def _layers(depth: dict[str, int], ways: dict[Edge, list[str]]) -> list[list[str]]:
    layers: list[dict[str, None]] = [{} for _ in range(max(depth.values()) + 1)]
    for way in ways.values():
        for step, name in enumerate(way):
            layers[depth[way[0]] + step][name] = None
    return [list(layer) for layer in layers]


def _uncrossed(layers: list[list[str]], pairs: list[tuple[str, str]]) -> list[list[str]]:
    """Sort each layer by the mean place of its neighbours in the layer before, then behind, a few times."""
    before, behind = defaultdict(list), defaultdict(list)
    for a, b in pairs:
        behind[a].append(b)
        before[b].append(a)
    for sweep in range(12):
        neighbours, order = (before, layers) if sweep % 2 == 0 else (behind, layers[::-1])
        place: dict[str, float] = {}
        for layer in order:
            own = {name: (index + 0.5) / len(layer) for index, name in enumerate(layer)}
            means = {n: [place[m] for m in neighbours[n]] or [own[n]] for n in layer}
            layer.sort(key=lambda name: sum(means[name]) / len(means[name]))
            place |= {name: (index + 0.5) / len(layer) for index, name in enumerate(layer)}
    return layers


def _places(layers: list[list[str]], widths: dict[str, float]) -> tuple[dict[str, Point], float]:
    rows = [sum(widths[name] for name in layer) + GAP_X * (len(layer) - 1) for layer in layers]
    total = max(rows) + GAP_X
    centres: dict[str, Point] = {}
    for number, (layer, row) in enumerate(zip(layers, rows, strict=True)):
        # What is left of the widest layer's room is shared out between and beside the nodes.
        spare = (total - GAP_X - row) / (len(layer) + 1)
        x = GAP_X / 2 + spare
        for name in layer:
            centres[name] = (x + widths[name] / 2, number * (HEIGHT + GAP_Y) + 4 + HEIGHT / 2)
            x += widths[name] + GAP_X + spare
    return centres, total


def _line(points: list[Point], dashed: bool) -> str:
    (x, y), *others = points
    path = f"M{x:.0f} {y + HEIGHT / 2:.0f}"
    for number, (to_x, to_y) in enumerate(others, 1):
        start, end = y + HEIGHT / 2, to_y - HEIGHT / 2
        path += f"C{x:.0f} {(start + end) / 2:.0f} {to_x:.0f} {(start + end) / 2:.0f} {to_x:.0f} {end:.0f}"
        if number < len(others):
            path += f"V{to_y + HEIGHT / 2:.0f}"
        x, y = to_x, to_y
    style = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"{style}/>'


def _box(centre: Point, width: float, label: str) -> str:
    x, y = centre
    box = f'<rect x="{x - width / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6"/>'
    return f'{box}<text x="{x:.0f}" y="{y + 5:.0f}">{escape(label)}</text>'
