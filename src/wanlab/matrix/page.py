"""The results of a matrix as one page (HTML) that needs nothing from anywhere else.

A grid to be looked at by result, by time or by what theory says, and below it what is known of each cell. A link to a
cell's files works as long as the page lies where it was written.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from wanlab.matrix.grid import Grid, grids
from wanlab.matrix.page_style import SCRIPT, STYLE, time_colours
from wanlab.matrix.results import Attempt, Result, Results, State, seconds_in_short

_OUTPUT_OF_BAD = 8 << 10  # bytes of a command's output that the page has
_OUTPUT_OF_GOOD = 1 << 10
_MOST_FILES = 40
_FIRST = (State.FAILED, State.TIMED_OUT, State.NOT_BUILT, State.FLAKY)
_THEORIES = {
    "direct": "a hole is punched, and the peers talk directly",
    "luck": "only by a lucky guess, or by luck in who is first",
    "not": "it is not",
}


def page(results: Results) -> str:
    """The page."""
    matrix = results.matrix
    lab = escape(matrix.topology.name)
    command = escape(shlex.join(matrix.command))
    where = f"in {escape(matrix.node)}" if matrix.node else "in no node"
    fate = "good" if results.ok else "bad"
    views = ("result", "time", *(("theory",) if matrix.theories else ()))
    inputs = "".join(
        f'<input type="radio" name="view" id="by-{view}"{" checked" if view == "result" else ""}>' for view in views
    )
    labels = "".join(f'<label for="by-{view}">{view}</label>' for view in views)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
  script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wanlab matrix: {lab}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{lab}</h1>
<p><code>{command}</code> {where}, in a fresh lab for each cell.</p>
<p class="outcome {fate}">{escape(results.outcome)}</p>
{inputs}
<nav>Look at: {labels}</nav>
<main>
{_legends(results)}
{"".join(_grid(grid, results) for grid in grids(results))}</main>
<h2>The cells</h2>
{"".join(_details(results, result) for result in _in_order(results))}<script>{SCRIPT}</script>
</body>
</html>
"""


def _in_order(results: Results) -> Iterator[Result]:
    """Those first that somebody will want to read about."""
    for state in (*_FIRST, State.PASSED, State.NOT_RUN):
        yield from (result for result in results.results if result.state is state)


# -- the grid ---------------------------------------------------------------------------------------------------------


def _legends(results: Results) -> str:
    states = "".join(
        f'<li><b class="swatch {state.value}">{state.mark}</b>{state.words}: {count}</li>'
        for state, count in results.counts.items()
    )
    least, most = _times(results)
    times = [least * (most / least) ** (number / len(time_colours)) for number in range(len(time_colours))]
    steps = "".join(
        f'<li><b class="swatch" style="background:{colour}"></b>from {seconds_in_short(seconds)} s</li>'
        for seconds, (colour, _) in zip(times, time_colours, strict=True)
    )
    small = "<li>below each time: what theory says of UDP hole punching</li>" if results.matrix.theories else ""
    theories = "".join(
        f'<li><b class="swatch theory-{word}"></b>{word}: {words}</li>' for word, words in _THEORIES.items()
    )
    return (
        f'<ul class="legend for-result">{states}{small}</ul>\n'
        f'<ul class="legend for-time">{steps}</ul>\n'
        f'<ul class="legend for-theory">{theories}<li>(UDP hole punching)</li></ul>\n'
    )


def _grid(grid: Grid, results: Results) -> str:
    across = "" if grid.across is None else f"<span>{escape(grid.across.place)} →</span>"
    head = "".join(f'<th scope="col"><span>{escape(column)}</span></th>' for column in grid.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join("<td></td>" if result is None else _cell(results, result) for result in grid.row(label))
        + "</tr>"
        for label in grid.rows
    )
    title = f"<h2>{escape(grid.title)}</h2>\n" if grid.title else ""
    return (
        f'{title}<div class="wide"><table class="grid">\n'
        f'<tr><th class="corner">{across}<span>{escape(grid.down.place)} ↓</span></th>{head}</tr>\n'
        f"{rows}\n</table></div>\n"
    )


def _cell(results: Results, result: Result) -> str:
    theory = results.matrix.theories.get(result.cell)
    says = theory.udp.says if theory is not None else ""
    background, ink = _time_colour(results, result)
    words = f"{result.cell}: {result.words}" + (f"; theory: {says}" if says else "")
    shown = seconds_in_short(result.seconds) if result.attempts else ""
    return (
        f'<td class="cell {result.state.value} theory-{says or "none"}" style="--time:{background};--ink:{ink}">'
        f'<a href="#{_anchor(results, result)}" title="{escape(words)}"><b>{result.state.mark}</b>'
        f"<span>{shown}</span>{f'<i>{says}</i>' if says else ''}</a></td>"
    )


def _times(results: Results) -> tuple[float, float]:
    """The shortest and the longest; never equal, and never 0."""
    found = [max(result.seconds, 0.001) for result in results.results if result.attempts] or [0.001]
    return min(found), max(*found, min(found) * 1.01)


def _time_colour(results: Results, result: Result) -> tuple[str, str]:
    if not result.attempts:
        return "#fff", "#6b7280"
    least, most = _times(results)
    share = math.log(max(result.seconds, least) / least) / math.log(most / least)
    return time_colours[min(int(share * len(time_colours)), len(time_colours) - 1)]


# -- what is known of a cell ------------------------------------------------------------------------------------------


def _details(results: Results, result: Result) -> str:
    state = result.state
    theory = results.matrix.theories.get(result.cell)
    theories = ""
    if theory is not None:
        theories = "".join(
            f"<p>Theory, {name}: <b>{saying.says}</b>; {escape(saying.why)}.</p>\n"
            for name, saying in (("UDP", theory.udp), ("TCP", theory.tcp))
        )
    attempts = "".join(_attempt(results, result, number) for number in range(len(result.attempts)))
    return (
        f'<details id="{_anchor(results, result)}"><summary><b class="swatch {state.value}">{state.mark}</b>'
        f"{escape(result.cell.name)}<span>{escape(result.words)}</span></summary>\n"
        f"<p>{escape(str(result.cell))}</p>\n{theories}{attempts}</details>\n"
    )


def _attempt(results: Results, result: Result, number: int) -> str:
    attempt = result.attempts[number]
    output = results.output(attempt, _OUTPUT_OF_GOOD if attempt.state is State.PASSED else _OUTPUT_OF_BAD)
    title = f"Attempt {number + 1} of {len(result.attempts)}: " if len(result.attempts) > 1 else ""
    what = f"{title}{attempt.state.words}{f' ({attempt.problem})' if attempt.problem else ''}"
    pre = f"<pre>{escape(output)}</pre>\n" if output.strip() else "<p>(no output)</p>\n"
    return f"<h3>{escape(what)}; {seconds_in_short(attempt.seconds)} s</h3>\n{pre}{_files(attempt)}"


def _files(attempt: Attempt) -> str:
    # What is looked at first comes first: packets, output, and what the command itself has left.
    names = sorted(attempt.files, key=lambda name: ("/" in name, name != "packets.pcapng", name))
    links = [f'<a href="{quote(f"{attempt.directory}/{name}")}">{escape(name)}</a>' for name in names[:_MOST_FILES]]
    if len(names) > _MOST_FILES:
        links.append(f"and {len(names) - _MOST_FILES} more")
    return f'<p class="files">In {escape(attempt.directory)}: {", ".join(links) or "(no files)"}</p>\n'


def _anchor(results: Results, result: Result) -> str:
    return f"cell-{results.matrix.cells.index(result.cell) + 1}"
