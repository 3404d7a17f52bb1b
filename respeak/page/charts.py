"""Small charts as inline SVG. Colours are CSS variables of the page, so that they follow light and dark."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, WIDE = 320, 190, 760
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 30, 26
F0_HEIGHT = 56
COLOURS = 6  # of lines, .s0 to .s5 of the style sheet
F0_RANGE_HZ = (60.0, 400.0)


def line_chart(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> str:
    """Draw lines over a common x, by name; non-finite points are left out. A log axis where values span decades."""
    kept = {n: [(x, y) for x, y in points if math.isfinite(y)] for n, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    xs, ys = zip(*[point for points in kept.values() for point in points], strict=True)
    log = min(ys) > 0 and max(ys) / min(ys) > 30
    across = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Scale(*_limits(ys, log), HEIGHT - BOTTOM, TOP, log)
    parts = [_y_axis(up, *_limits(ys, log), log), _x_axis(across, min(xs), max(xs), x_label)]
    for index, (name, points) in enumerate(kept.items()):
        colour = f"s{index % COLOURS}"
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="line {colour}" points="{line}"><title>{escape(name)}</title></polyline>')
        parts += [
            f'<circle class="dot {colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="1.6"/>' for x, y in points[-1:]
        ]
    return _svg(title, parts, HEIGHT) + _legend(list(kept))


def bar_chart(title: str, values: Sequence[float], x_label: str) -> str:
    """Draw bars from the left, in the order given."""
    if not len(values):
        return ""
    top = max(values) or 1.0
    up = _Scale(0.0, top, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(values)
    bars = [
        f'<rect class="bar" x="{LEFT + i * step:.2f}" y="{up(v):.1f}" width="{max(step * 0.9, 0.4):.2f}" '
        f'height="{HEIGHT - BOTTOM - up(v):.1f}"/>'
        for i, v in enumerate(values)
    ]
    across = _Scale(0, len(values), LEFT, WIDTH - RIGHT)
    return _svg(title, [_y_axis(up, 0.0, top, False), _x_axis(across, 0, len(values), x_label), *bars], HEIGHT)


def grouped_chart(title: str, series: Mapping[str, Mapping[str, float]], groups: Mapping[str, str]) -> str:
    """Draw bars side by side in groups, on a chart twice as wide as others.

    Args:
        title: above it.
        series: by name, values by group; a group that a series lacks stays empty there.
        groups: names of the groups in order, and the signs below them.
    """
    if not any(series.values()):
        return ""
    top = max(value for values in series.values() for value in values.values()) or 1.0
    up = _Scale(0.0, top, HEIGHT - BOTTOM, TOP)
    step = (WIDE - LEFT - RIGHT) / len(groups)
    width = 0.8 * step / len(series)
    y, parts = HEIGHT - 10, [_y_axis(up, 0.0, top, False, WIDE)]
    for place, (group, sign) in enumerate(groups.items()):
        left = LEFT + (place + 0.1) * step
        parts.append(
            f'<text class="tick" x="{left + 0.4 * step:.1f}" y="{y}" text-anchor="middle">{escape(sign)}</text>'
        )
        for number, (name, values) in enumerate(series.items()):
            if group in values:
                words = f"{name}, {sign}: {values[group]:.1f}"
                parts.append(_column(left + number * width, width, up(values[group]), number, words))
    return _svg(title, parts, HEIGHT, WIDE) + _legend(list(series))


def f0_chart(seconds: float, contours: Mapping[str, np.ndarray]) -> str:
    """Draw F0 contours in Hz every 5 ms (0 is unvoiced), by name, on a log axis from 60 to 400 Hz."""
    low, high = F0_RANGE_HZ
    up = _Scale(low, high, F0_HEIGHT - 2, 2, log=True)
    across = _Scale(0.0, max(seconds, 0.005), 0, WIDTH)
    parts = []
    for name, f0 in contours.items():
        strokes = "".join(_stroke(run, f0, across, up) for run in _voiced_runs(f0))
        parts.append(f'<path class="f0 {escape(name)}" d="{strokes}"><title>F0 of the {escape(name)}</title></path>')
    grid = "".join(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{up(hz):.1f}" y2="{up(hz):.1f}"/>' for hz in (100, 200))
    return (
        f'<svg class="f0-chart" viewBox="0 0 {WIDTH} {F0_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="F0, 60 to 400 Hz, lines at 100 and 200 Hz">{grid}{"".join(parts)}</svg>'
    )


def unit_timeline(units: np.ndarray, count: int) -> str:
    """Draw runs of equal units as boxes along time; the colour is the unit on a wheel, the title its number."""
    edges = [0, *(np.flatnonzero(np.diff(units.astype(np.int64))) + 1).tolist(), len(units)]
    boxes = []
    for start, end in itertools.pairwise(edges):
        unit = int(units[start])
        # The golden angle sets neighbours in number far apart in hue.
        hue = unit * 137.508 % 360
        boxes.append(
            f'<rect x="{start}" y="0" width="{end - start}" height="10" '
            f'fill="hsl({hue:.0f} 55% {45 + unit % 3 * 10}%)">'
            f"<title>unit {unit}, {(end - start) * 20} ms</title></rect>"
        )
    return (
        f'<svg class="units" viewBox="0 0 {max(len(units), 1)} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{len(units)} units, {len(boxes)} runs, of {count}">{"".join(boxes)}</svg>'
    )


class _Scale:
    """Linear or logarithmic map from values to places."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self.log = log
        self.low, self.high = (math.log(low), math.log(high)) if log else (low, high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        value = math.log(value) if self.log else value
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def _limits(ys: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(ys), max(ys)
    if low == high:
        low, high = (low * 0.9, high * 1.1) if low > 0 else (low - 1, high + 1)
    return (low, high) if log else (min(low, 0.0) if low < 0.35 * high else low, high)


def _column(left: float, width: float, top: float, number: int, words: str) -> str:
    return (
        f'<rect class="column s{number % COLOURS}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{HEIGHT - BOTTOM - top:.1f}"><title>{escape(words)}</title></rect>'
    )


def _y_axis(up: _Scale, low: float, high: float, log: bool, width: int = WIDTH) -> str:
    middle = math.sqrt(low * high) if log else (low + high) / 2
    ticks = []
    for value in (low, middle, high):
        y = up(value)
        ticks.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        ticks.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:.3g}</text>')
    return "".join(ticks)


def _x_axis(across: _Scale, low: float, high: float, label: str) -> str:
    y = HEIGHT - BOTTOM + 14
    middle = (LEFT + WIDTH - RIGHT) / 2
    last = f'<text class="tick" x="{across(high):.1f}" y="{y}" text-anchor="end">{high:g}</text>' if high > low else ""
    return (
        f'<text class="tick" x="{across(low):.1f}" y="{y}">{low:g}</text>'
        f'<text class="tick" x="{middle}" y="{y}" text-anchor="middle">{escape(label)}</text>{last}'
    )


def _svg(title: str, parts: Sequence[str], height: int, width: int = WIDTH) -> str:
    heading = f'<text class="title" x="0" y="13">{escape(title)}</text>'
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{heading}{''.join(parts)}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    keys = "".join(f'<li><i class="s{index % COLOURS}"></i>{escape(name)}</li>' for index, name in enumerate(names))
    return f'<ul class="legend">{keys}</ul>'


def _voiced_runs(f0: np.ndarray) -> list[tuple[int, int]]:
    voiced = np.concatenate([[0], (np.asarray(f0) > 0).astype(np.int8), [0]])
    starts, ends = np.flatnonzero(np.diff(voiced) == 1), np.flatnonzero(np.diff(voiced) == -1)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _stroke(run: tuple[int, int], f0: np.ndarray, across: _Scale, up: _Scale) -> str:
    low, high = F0_RANGE_HZ
    points = [(across(n * 0.005), up(min(max(float(f0[n]), low), high))) for n in range(*run)]
    # A run of one frame is a dot: a line of no length has round ends.
    points = points if len(points) > 1 else points * 2
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
