"""A sequence diagram as an SVG that needs nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.drawing.letters import pixels
from wanlab.drawing.sequence import Diagram, Step
from wanlab.drawing.svg import FAMILY
from wanlab.drawing.xml import xml

_SIZE = 12
_ROW, _NOTE, _HEAD = 34, 24, 50
_TIME = 90  # the column of times at the left
_LEAST = 110  # between two lifelines
_PAD = 16

_STYLE = f"""
text {{ font: {_SIZE}px {FAMILY}; fill: #6b7684; text-anchor: middle; }}
.name {{ font-weight: 700; fill: #1f2937; }}
.head {{ fill: #e6effc; stroke: #3b76d4; }}
.life {{ stroke: #aab4c0; stroke-dasharray: 3 4; }}
.arrow {{ stroke: #7b8794; stroke-width: 1.5; fill: none; }}
.tip {{ fill: #7b8794; }}
.time {{ text-anchor: end; }}
.note {{ fill: #fff7e0; stroke: #c69a2c; }}
.noted {{ fill: #1f2937; }}
.death {{ fill: #fde8e8; stroke: #dc4c4c; }}
.cross {{ stroke: #dc4c4c; stroke-width: 2.5; }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #9aa5b4; }}
.name, .noted {{ fill: #e5e9f0; }}
.head {{ fill: #1b2f4d; stroke: #6aa0f0; }}
.note {{ fill: #40371c; }}
.death {{ fill: #4a2222; }}
}}
""".strip()


def sequence_svg(diagram: Diagram, title: str = "") -> str:
    """The picture, as a document that ends in a newline."""
    return "\n".join(_Drawing(diagram, title).document()) + "\n"


class _Drawing:
    def __init__(self, diagram: Diagram, title: str) -> None:
        self.diagram = diagram
        self.title = title or "sequence diagram"
        self.number = {name: number for number, name in enumerate(diagram.nodes)}
        gaps, left, right = self._gaps()
        self.x = [_TIME + left]
        for gap in gaps:
            self.x.append(self.x[-1] + gap)
        self.width = self.x[-1] + right if diagram.nodes else 200
        self.y = _HEAD

    def _gaps(self) -> tuple[list[int], int, int]:
        """How far the lifelines are from each other, and the first and last from the edges: texts find room."""
        names = self.diagram.nodes
        gaps = [_LEAST] * max(0, len(names) - 1)
        left = right = _LEAST // 2
        needs: list[tuple[int, int, int]] = [(n, n, pixels(name, True, _SIZE) + _PAD) for n, name in enumerate(names)]
        for step in self.diagram.steps:
            a, b = sorted((self.number[step.sender], self.number[step.receiver]))
            needs.append((a, b, pixels(step.text, False, _SIZE) + 2 * _PAD))
            needs.append((self.number[step.sender],) * 2 + (pixels(step.translation, False, _SIZE) + 2 * _PAD,))
            needs.append((self.number[step.receiver],) * 2 + (pixels(step.death, False, _SIZE) + 2 * _PAD,))
        for a, b, width in sorted(needs, key=lambda need: need[1] - need[0]):
            if a == b:
                half = width // 2 + 4
                left = max(left, half - sum(gaps[:a])) if a == 0 else left
                right = max(right, half) if b == len(names) - 1 else right
                for gap in (a - 1, a):
                    if 0 <= gap < len(gaps):
                        gaps[gap] = max(gaps[gap], half)
            elif sum(gaps[a:b]) < width:
                more = -(-(width - sum(gaps[a:b])) // (b - a))
                for gap in range(a, b):
                    gaps[gap] += more
        return gaps, left, right

    def document(self) -> Iterator[str]:
        body = [line for step in self.diagram.steps for line in self._step(step)]
        if self.diagram.left_out:
            self.y += _NOTE
            body.append(f'<text x="{self.width // 2}" y="{self.y}">... and {self.diagram.left_out} steps more</text>')
        height = self.y + 24
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height}" width="{self.width}" '
            f'height="{height}" role="img" aria-label="{xml(self.title)}">'
        )
        yield f"<title>{xml(self.title)}</title>"
        yield f"<style>{_STYLE}</style>"
        for name, x in zip(self.diagram.nodes, self.x, strict=False):
            width = pixels(name, True, _SIZE) + _PAD
            yield f'<line class="life" x1="{x}" y1="36" x2="{x}" y2="{height - 8}"/>'
            yield f'<rect class="head" x="{x - width // 2}" y="10" width="{width}" height="26" rx="4"/>'
            yield f'<text class="name" x="{x}" y="27">{xml(name)}</text>'
        yield from body
        yield "</svg>"

    def _step(self, step: Step) -> Iterator[str]:
        start, end = self.x[self.number[step.sender]], self.x[self.number[step.receiver]]
        if step.translation:
            yield from self._note(start, step.translation, "note")
        if start != end or step.text:
            self.y += _ROW
            yield f'<text class="time" x="{_TIME - 16}" y="{self.y + 4}">{self.diagram.after_ms(step)}</text>'
        if step.text:
            yield f'<text x="{(start + end) // 2}" y="{self.y - 6}">{xml(step.text)}</text>'
        if start != end:
            way = 1 if end > start else -1
            point = end - 7 * way if step.death else end
            yield f'<path class="arrow" d="M{start} {self.y}H{point - 8 * way}"/>'
            yield f'<path class="tip" d="M{point} {self.y}l{-9 * way} -4.5v9z"/>'
        if step.death:
            yield f'<path class="cross" d="M{end - 5} {self.y - 5}l10 10m0 -10l-10 10"/>'
            yield from self._note(end, step.death, "death")

    def _note(self, x: int, text: str, kind: str) -> Iterator[str]:
        self.y += _NOTE
        width = pixels(text, False, _SIZE) + _PAD
        yield f'<rect class="{kind}" x="{x - width // 2}" y="{self.y - 11}" width="{width}" height="20" rx="4"/>'
        yield f'<text class="noted" x="{x}" y="{self.y + 3}">{xml(text)}</text>'
