"""How the page of a matrix looks.

Colours that people with any kind of colour vision can tell apart (what is dark did not pass), and a mark beside each;
the theories' are of Okabe and Ito's palette, the times' run from light to dark in one hue.
"""

from __future__ import annotations

time_colours = (
    ("#eff6fc", "#1f2933"),
    ("#cfe3f4", "#1f2933"),
    ("#9cc8e8", "#1f2933"),
    ("#5b9fd0", "#10181f"),
    ("#2d74ad", "#fff"),
    ("#124b7c", "#fff"),
)
"""From the shortest time to the longest, by equal ratios: a colour, and that of what is written on it."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { font-size: 18px; margin: 1.5rem 0 .5rem; }
h3 { font-size: 14px; margin: .75rem 0 .25rem; }
code, pre { font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: #f4f5f7; padding: .5rem .75rem; overflow-x: auto; max-height: 24rem; margin: .25rem 0; }
.outcome { font-weight: 600; } .outcome.bad { color: #a3320f; } .outcome.good { color: #124b7c; }
.wide { overflow-x: auto; }

input[name=view] { position: absolute; opacity: 0; }
nav label { border: 1px solid #9aa5b1; padding: .1rem .75rem; cursor: pointer; margin-left: -1px; }
nav label:first-of-type { margin-left: .25rem; }
#by-result:checked ~ nav [for=by-result], #by-time:checked ~ nav [for=by-time],
#by-theory:checked ~ nav [for=by-theory] { background: #1f2933; color: #fff; }
#by-result:focus-visible ~ nav [for=by-result], #by-time:focus-visible ~ nav [for=by-time],
#by-theory:focus-visible ~ nav [for=by-theory] { outline: 2px solid #2d74ad; outline-offset: 2px; }

.legend { list-style: none; padding: 0; display: none; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: 14px; }
#by-result:checked ~ main .for-result, #by-time:checked ~ main .for-time,
#by-theory:checked ~ main .for-theory { display: flex; }
.swatch { display: inline-block; width: 1.4em; height: 1.4em; line-height: 1.4em; text-align: center;
  margin-right: .4em; border: 1px solid #0002; border-radius: 3px; font-size: 13px; vertical-align: middle;
  box-sizing: border-box; }

.grid { border-collapse: separate; border-spacing: 2px; font-size: 12px; }
.grid th { font-weight: 500; white-space: nowrap; }
.grid th[scope=row] { text-align: right; padding-right: .5rem; position: sticky; left: 0; background: #fff; }
.grid th[scope=col] { vertical-align: bottom; height: 2rem; padding-bottom: .25rem; }
.grid th[scope=col] span { writing-mode: vertical-rl; transform: rotate(180deg); }
.grid .corner { vertical-align: bottom; text-align: right; padding: 0 .5rem .25rem 0; color: #52606d; }
.grid .corner span { display: block; }
.cell { padding: 0; border-radius: 4px; min-width: 3.6rem; text-align: center; line-height: 1.25; }
.cell a { display: block; padding: .25rem .2rem; color: inherit; text-decoration: none; border-radius: 4px; }
.cell a:hover, .cell a:focus-visible { outline: 2px solid #1f2933; }
.cell b { margin-right: .35em; } .cell i { display: block; font-style: normal; font-size: 10.5px; opacity: .85; }

.passed { background: #d6e8f6; color: #14324a; } .flaky { background: #ffd75e; color: #3d2e00; }
.failed { background: #b93a10; color: #fff; } .timed-out { background: #6d2f82; color: #fff; }
.not-built { background: #3a4149; color: #fff; }
.not-run { background: #fff; color: #6b7280; box-shadow: inset 0 0 0 1px #cbd2d9; }
.swatch.theory-direct, #by-theory:checked ~ main .theory-direct { background: #56b4e9; color: #10181f; }
.swatch.theory-luck, #by-theory:checked ~ main .theory-luck { background: #f0e442; color: #10181f; }
.swatch.theory-not, #by-theory:checked ~ main .theory-not { background: #5f6672; color: #fff; }
#by-theory:checked ~ main .theory-none { background: #fff; color: #6b7280; }
#by-time:checked ~ main .cell { background: var(--time); color: var(--ink); }

details { border-top: 1px solid #e4e7eb; padding: .25rem 0; }
summary { cursor: pointer; } summary span { color: #52606d; margin-left: .75rem; font-size: 14px; }
details p { margin: .25rem 0; } .files { font-size: 13px; color: #52606d; overflow-wrap: anywhere; }
@media print { nav, input { display: none; } }
""".strip()

SCRIPT = """
function show() {
  const cell = document.getElementById(location.hash.slice(1));
  if (cell && cell.tagName === "DETAILS") { cell.open = true; cell.scrollIntoView(); }
}
addEventListener("hashchange", show);
show();
""".strip()
