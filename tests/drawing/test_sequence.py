"""Sequence diagrams: every step is drawn, in order, and what ended is marked."""

from __future__ import annotations

import re
from ipaddress import ip_address
from xml.etree import ElementTree

import pytest

from wanlab.capture.headers import Endpoint, Header
from wanlab.drawing.letters import pixels
from wanlab.drawing.sequence import Diagram, sequence
from wanlab.drawing.sequence_mermaid import sequence_mermaid
from wanlab.drawing.sequence_svg import sequence_svg
from wanlab.drawing.sequence_text import sequence_text
from wanlab.trace.story import Crossing, Fate, Story

SVG = "{http://www.w3.org/2000/svg}"


def header(source: str, destination: str, info: str = "") -> Header:
    ends = [
        Endpoint(ip_address(text.rpartition(":")[0]), int(text.rpartition(":")[2])) for text in (source, destination)
    ]
    return Header("udp", ends[0], ends[1], 64, 33, info)


INSIDE = header("10.1.0.1:4000", "172.16.0.2:9")
OUTSIDE = header("172.16.0.1:31999", "172.16.0.2:9")
ANSWER = header("172.16.0.2:9", "172.16.0.1:31999")


def story(fate: Fate = Fate.DELIVERED, why: str = "", start: int = 1_000_000) -> Story:
    crossings = (
        Crossing("alice", None, "eth0", start, start, INSIDE, INSIDE),
        Crossing("home-a", "lan", "wan", start + 10_000, start + 20_000, INSIDE, OUTSIDE),
        Crossing("home-b", "wan", None, start + 30_000, None, OUTSIDE, None),
    )
    return Story(1, crossings, fate, "home-b", why)


LOST = Story(
    2,
    (Crossing("home-b", None, "wan", 5_000_000, 5_000_000, ANSWER, ANSWER),),
    Fate.LOST,
    "home-a",
    "it did not arrive",
)


def both() -> Diagram:
    return sequence([story(Fate.DROPPED, "nobody has asked for it"), LOST])


def test_steps_are_in_order_of_time_with_translations_and_ends() -> None:
    diagram = both()
    assert diagram.nodes == ("alice", "home-a", "home-b")
    assert [(step.sender, step.receiver) for step in diagram.steps] == [
        ("alice", "home-a"), ("home-a", "home-b"), ("home-b", "home-b"),
    ]  # fmt: skip
    assert [bool(step.translation) for step in diagram.steps] == [False, True, False]
    assert [bool(step.death) for step in diagram.steps] == [False, True, True]
    assert diagram.steps[1].death == "dropped: nobody has asked for it"
    assert [diagram.after_ms(step) for step in diagram.steps] == ["0.000 ms", "0.020 ms", "4.000 ms"]


def test_text_has_a_line_for_each_step() -> None:
    assert sequence_text(both()).splitlines() == [
        "                 alice    home-a    home-b",
        "    0.000 ms       ├────────>│         │      udp 10.1.0.1:4000 > 172.16.0.2:9",
        "    0.020 ms       │         ├────────>x      udp 172.16.0.1:31999 > 172.16.0.2:9"
        "  (home-a: 10.1.0.1:4000 -> 172.16.0.1:31999)  x dropped: nobody has asked for it",
        "    4.000 ms       │         │         x      udp 172.16.0.2:9 > 172.16.0.1:31999  x lost: it did not arrive",
    ]


def test_mermaid_keeps_to_a_few_plain_forms() -> None:
    first, *lines = sequence_mermaid(both()).splitlines()
    assert first == "sequenceDiagram"
    forms = (r"participant n\d+ as [^;]+", r"n\d+(->>|-x)n\d+: .+", r"Note over n\d+: .+")
    for line in lines:
        assert any(re.fullmatch(f"    {form}", line) for form in forms), line
        assert not re.search(r";(?<!#\d\d;)(?<!#\d\d\d;)", line), line
    assert sum("-x" in line for line in lines) == 1
    assert sum("-&gt;" in line or "->>" in line for line in lines) == 1


def test_svg_is_xml_in_which_texts_find_room() -> None:
    diagram = both()
    root = ElementTree.fromstring(sequence_svg(diagram, 'a "title" & <more>'))
    width = float(root.attrib["width"])
    assert len(list(root.iter(f"{SVG}path"))) == 2 * 2 + 2  # two arrows of shaft and tip, two crosses
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "time":
            continue
        half = pixels(text.text or "", False, 12) / 2
        middle = float(text.attrib["x"])
        assert middle - half >= 0
        assert middle + half <= width, text.text
    rows = [float(text.attrib["y"]) for text in root.iter(f"{SVG}text") if text.get("class") == "noted"]
    assert rows == sorted(rows)


def test_long_exchanges_are_cut_off_and_say_so() -> None:
    stories = [story(start=1_000_000 * number) for number in range(1, 101)]
    diagram = sequence(stories, most=10)
    assert (len(diagram.steps), diagram.left_out) == (10, 190)
    for drawn in (sequence_text(diagram), sequence_svg(diagram), sequence_mermaid(diagram)):
        assert "and 190 steps more" in drawn


@pytest.mark.parametrize("draw", [sequence_text, sequence_svg, sequence_mermaid])
def test_nothing_at_all_can_be_drawn(draw: object) -> None:
    assert callable(draw)
    assert draw(sequence([]))


def test_nodes_that_talk_stand_beside_each_other() -> None:
    def talk(*nodes: str) -> Story:
        crossings = tuple(Crossing(node, "a", "b", n, n, INSIDE, INSIDE) for n, node in enumerate(nodes))
        return Story(1, crossings, Fate.DELIVERED, nodes[-1])

    diagram = sequence([talk("alice", "home-a", "coordinator"), talk("bob", "home-b", "coordinator")])
    assert diagram.nodes in (
        ("alice", "home-a", "coordinator", "home-b", "bob"), ("bob", "home-b", "coordinator", "home-a", "alice"),
    )  # fmt: skip
    assert diagram.nodes[0] == "alice"
