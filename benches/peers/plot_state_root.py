#!/usr/bin/env python3
"""Draws how the cost of a block grows with the state, from the JSON lines of `state_root --json`, as an SVG.

usage: benches/peers/plot_state_root.py FIELD... < docs/bench/state_root.jsonl > docs/state_root.svg
"""

import json
import math
import sys

COLOURS = {"lockweave": "#1f77b4", "firewood": "#e08a1e", "nomt": "#7a9e3b"}
NAMES = {"lockweave": "ours", "firewood": "Firewood", "nomt": "NOMT"}
TITLES = {
    "root_ms_median": "root, ms (median)",
    "commit_ms_median": "root and durable commit, ms (median)",
    "commit_core_ms_median": "processor time of a block, ms (median)",
}
HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT, STEP = 340, 60, 46, 320, 240, 450


def plot(reports, field, title, left):
    """One chart: accounts of the state and time of a block, both logarithmic."""
    entries = [report["entries"] for report in reports]
    times = [report[field] for report in reports]
    low, high = min(entries) * 0.9, max(entries) * 1.1
    floor, ceiling = 10 ** math.floor(math.log10(min(times))), 10 ** math.ceil(math.log10(max(times)))

    def x(value):
        return left + PLOT_WIDTH * math.log(value / low) / math.log(high / low)

    def y(value):
        return TOP + PLOT_HEIGHT * (1 - math.log(value / floor) / math.log(ceiling / floor))

    yield f'<text x="{left}" y="{TOP - 18}" font-weight="bold">{title}</text>'
    tick = floor
    while tick <= ceiling:
        yield f'<line x1="{left}" x2="{left + PLOT_WIDTH}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>'
        yield f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,}</text>'
        tick *= 10
    for million in (1, 2, 5, 10, 20, 50):
        if low <= million * 1e6 <= high:
            at = x(million * 1e6)
            yield f'<text x="{at:.1f}" y="{TOP + PLOT_HEIGHT + 18}" text-anchor="middle">{million} M</text>'
    for store, colour in COLOURS.items():
        points = sorted((report["entries"], report[field]) for report in reports if report["store"] == store)
        path = " ".join(f"{x(entries):.1f},{y(time):.1f}" for entries, time in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for entries, time in points:
            yield f'<circle cx="{x(entries):.1f}" cy="{y(time):.1f}" r="3" fill="{colour}"/>'
        if points:
            entries, time = points[-1]
            yield f'<text x="{x(entries) + 6:.1f}" y="{y(time) + 4:.1f}" fill="{colour}">{NAMES[store]}</text>'


def main():
    reports = [json.loads(line) for line in sys.stdin]
    accounts = [report for report in reports if report["phase"] == "accounts"]
    fields = sys.argv[1:] or list(TITLES)
    body = []
    for index, field in enumerate(fields):
        body += plot(accounts, field, TITLES[field], LEFT + STEP * index)
    size = f"0 0 {STEP * len(fields) + 10} {HEIGHT}"
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="12">')
    print("<style>text { fill: #555 } .grid { stroke: #8884 } @media (prefers-color-scheme: dark) { text { fill: #bbb } }</style>")
    print("\n".join(body))
    print(f'<text x="{LEFT}" y="{HEIGHT - 12}">accounts in the state; blocks of 25,000 changes</text>')
    print("</svg>")


main()
