"""The report of a load test: a page of Markdown with a picture."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 720, 260, 46, 46, 228
MEANINGS = {
    "0000": "done",
    "0001": "fault of the platform",
    "0004": "collided, try again",
    "0006": "too many requests",
    "E0006": "the team is full",
    "E0008": "the last seat was just taken",
    "E0010": "the team cannot be joined any more",
}


def write(found: Mapping[str, Any], target: Mapping[str, Any], where: str, out: Path) -> Path:
    """Write SHAPE.md and SHAPE.svg; return the path of the page."""
    shape = target["shape"]
    (out / f"{shape}.svg").write_text(_picture(found["samples"]), "utf-8")
    page = out / f"{shape}.md"
    lines = [line if line[:1] == "|" else fill(line, 120) for line in _page(found, target, where)]
    page.write_text("\n".join(lines) + "\n", "utf-8")
    return page


def _page(found: Mapping[str, Any], target: Mapping[str, Any], where: str) -> Iterable[str]:
    rows = found["rows"]
    calls, faults = (sum(row[name] for row in rows) for name in ("calls", "faults"))
    yield f"# Load test: {target['shape']}"
    yield ""
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, version {_version()}. {where} {_machine()}"
    yield ""
    yield _what(target)
    yield ""
    yield (
        f"**{calls:,} calls, {faults:,} faults.** A refusal, such as a full team, is an answer."
        " The shoppers share 200 connections, as behind a mall's back end; a time includes the wait"
        " for a connection."
    )
    if found["sale"]:
        yield ""
        yield _sold(found["sale"])
    yield ""
    yield f"![Calls per second, and the 95th percentile of their time]({target['shape']}.svg)"
    yield ""
    yield "| call | calls | per second | p50 ms | p95 ms | p99 ms | longest | codes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for row in rows:
        times = " | ".join(f"{row[name]:,.0f}" for name in ("p50", "p95", "p99", "most"))
        codes = ", ".join(f"{code} × {count:,}" for code, count in row["codes"].items())
        yield f"| {row['name']} | {row['calls']:,} | {row['rate']:.1f} | {times} | {codes} |"
    yield ""
    seen = sorted({code for row in rows for code in row["codes"]})
    yield "; ".join(f"`{code}`: {MEANINGS[code]}" for code in seen if code in MEANINGS) + "."


def _what(target: Mapping[str, Any]) -> str:
    if target["shape"] == "flash":
        return (
            f"{target['shoppers']:,} shoppers come at 500 a second, each with an invitation to one"
            f" of {target['teams']} teams. Those who get a seat pay; a third of those who find the"
            " team full try one other team."
        )
    return (
        f"{target['users']} shoppers at once for {target['minutes']:g} minutes, with pauses like"
        " those of people: they look at the offer, open a team or join one that is shown, pay, look"
        " at their order, and one in twenty gives it back."
    )


def _sold(sale: Mapping[str, int]) -> str:
    return (
        f"**{sale['sold']} of {sale['seats']} free seats were sold, {sale['overfull']} of"
        f" {sale['teams']} teams have more members than seats.** {sale['shoppers']:,} shoppers"
        " finished."
    )


def _version() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"The load came from a machine with {os.cpu_count()} processors and {memory:.0f} GiB,"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()}."
    )


def _picture(samples: Sequence[Sequence[float]]) -> str:
    """An SVG: calls per second as a filled line, p95 as a thin line, each with an axis."""
    seconds = [at for at, _rate, _p95 in samples] or [1.0]
    rates = [rate for _at, rate, _p95 in samples] or [0.0]
    times = [p95 for _at, _rate, p95 in samples] or [0.0]
    most_rate, most_time = max(*rates, 1), max(*times, 1)

    def line(values: Sequence[float], most: float) -> str:
        return " ".join(
            f"{_x(at, seconds[-1]):.1f},{BOTTOM - (BOTTOM - 30) * value / most:.1f}"
            for at, value in zip(seconds, values, strict=True)
        )

    marks = "\n".join(
        f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{most_rate * share:,.0f}</text>'
        f'<text x="{WIDTH - RIGHT + 6}" y="{y + 4}">{most_time * share:,.0f}</text>'
        for share, y in ((0, BOTTOM), (0.5, (BOTTOM + 30) // 2), (1, 30))
    )
    ends = f"{_x(seconds[-1], seconds[-1]):.1f},{BOTTOM} {_x(seconds[0], seconds[-1]):.1f},{BOTTOM}"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
 font-family="system-ui, sans-serif" font-size="12">
<title>Calls per second, and the 95th percentile of their time</title>
<style>text {{ fill: #57606a }} .grid {{ stroke: #8b949e; opacity: .5 }}
.rate {{ fill: #2a7de1; opacity: .25 }}
.rates {{ fill: none; stroke: #2a7de1; stroke-width: 2 }}
.p95 {{ fill: none; stroke: #d1452c; stroke-width: 1.5 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #9da7b1 }} }}</style>
<text x="{LEFT}" y="18">calls per second (blue)</text>
<text x="{WIDTH - RIGHT}" y="18" text-anchor="end">p95 in ms (red)</text>
{marks}
<polygon class="rate" points="{line(rates, most_rate)} {ends}"/>
<polyline class="rates" points="{line(rates, most_rate)}"/>
<polyline class="p95" points="{line(times, most_time)}"/>
<text x="{LEFT}" y="{HEIGHT - 10}">0 s</text>
<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{seconds[-1]:,.0f} s</text>
</svg>
"""


def _x(at: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at / last
