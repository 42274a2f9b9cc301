"""What pictures are written as: other programs read it, and whatever stands in a title stays a title."""

from __future__ import annotations

import json
import re
import subprocess
from ipaddress import ip_interface
from xml.etree import ElementTree

import pytest

from tests.support.shapes import SHAPES, two_lans
from wanlab.drawing.dot import draw_dot
from wanlab.drawing.graph_json import draw_json
from wanlab.drawing.letters import pixels
from wanlab.drawing.mermaid import draw_mermaid
from wanlab.drawing.scene import Condition
from wanlab.drawing.svg import SIZE, draw_svg
from wanlab.drawing.text_picture import draw_text
from wanlab.drawing.tree import draw_tree
from wanlab.topology.network import Network
from wanlab.topology.topology import Topology

SVG = "{http://www.w3.org/2000/svg}"
TITLES = [
    "</title><script>alert(1)</script>",
    "quotes \" and ' and \\ and \\N",
    "a & b &amp; c; #35; --- end; }",
    "two\nlines\tand a bell \x07 \ufffe",
    "日本語 ünïcode 🌍",
    "%%{init: {}}%%",
    "x" * 500,
]
CONDITION = Condition(
    frozenset({("home-b", "wan"), ("bob", "eth0")}), {("alice", "eth0"): (ip_interface("10.1.0.77/24"),)}
)


def titled(title: str) -> Network:
    t = Topology("evil", title=title)
    wan = t.switch("end", "5.5.5.0/24")  # a word of Mermaid's
    t.router("graph", wan)  # and one of DOT's
    t.host("node", "graph")
    return t.resolve()


def texts(element: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in element.iter(f"{SVG}text")]


@pytest.mark.parametrize("title", TITLES)
def test_svg_is_xml_whatever_the_title(title: str) -> None:
    root = ElementTree.fromstring(draw_svg(titled(title)))
    assert not list(root.iter(f"{SVG}script"))
    heading = root.find(f"{SVG}title")
    assert heading is not None
    assert heading.text is not None
    assert heading.text.startswith("evil: ")
    # A pixel picture cut its heading off; no text is wider than the picture.
    (shown,) = [each for each in root.iter(f"{SVG}text") if each.get("class") == "title"]
    assert pixels(shown.text or "", True, 15) <= float(root.attrib["width"])


@pytest.mark.parametrize("shape", SHAPES)
def test_svg_has_every_node_address_and_cable(shape: str) -> None:
    network = SHAPES[shape]().resolve()
    root = ElementTree.fromstring(draw_svg(network))
    words = " ".join(texts(root)).split()
    for node in network:
        assert node.name in words
        for interface in node.interfaces:
            for address in interface.addresses:
                assert {str(address), str(address.ip)} & set(words), address
    cables = {(each.get("data-a"), each.get("data-b")) for each in root.iter(f"{SVG}polyline") if each.get("data-a")}
    assert {frozenset(cable) for cable in cables} == {
        frozenset((" ".join(link.a), " ".join(link.b))) for link in network.links
    }


def test_texts_of_an_svg_fit_their_boxes_by_a_rule_of_thumb() -> None:
    """Half of the font's size for a letter is what Helvetica and its kind need on average."""
    root = ElementTree.fromstring(draw_svg(Topology.load("dual-stack").resolve()))
    for group in root.iter(f"{SVG}g"):
        frame = group.find(f"{SVG}rect")
        if frame is None:
            continue
        left = float(frame.attrib["x"])
        right = left + float(frame.attrib["width"])
        for text in group.iter(f"{SVG}text"):
            half = len("".join(text.itertext())) * 0.5 * SIZE / 2
            middle = float(text.attrib["x"])
            assert left <= middle - half, "".join(text.itertext())
            assert middle + half <= right, "".join(text.itertext())


def test_what_differs_is_marked_in_every_format() -> None:
    network = two_lans().resolve()
    root = ElementTree.fromstring(draw_svg(network, CONDITION))
    assert len([each for each in root.iter(f"{SVG}polyline") if "down" in each.attrib["class"]]) == 2
    assert [each.text for each in root.iter(f"{SVG}text") if each.get("class") == "changed"] == ["10.1.0.77 (changed)"]
    assert draw_mermaid(network, CONDITION).count('-. "down" .-') == 2
    assert draw_dot(network, CONDITION).count('label="down"') == 2
    links = json.loads(draw_json(network, CONDITION))["links"]
    assert [link["down"] for link in links].count(True) == 2
    drawing = draw_text(network, CONDITION)
    assert drawing.count("down") == 2
    assert "10.1.0.77 (changed)" in drawing
    tree = draw_text(network, CONDITION, columns=10)
    assert tree.startswith(draw_tree(network))
    assert "  bob eth0 - home-b lan: down" in tree.splitlines()
    assert "  alice 10.1.0.77 (changed)" in tree.splitlines()


# -- DOT -----------------------------------------------------------------------------------------------------------


def graphviz(text: str) -> dict[str, object]:
    """A graph as Graphviz understands it."""
    done = subprocess.run(["dot", "-Tdot_json"], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_dot_is_the_same_graph_to_graphviz(shape: str) -> None:
    network = SHAPES[shape]().resolve()
    graph = graphviz(draw_dot(network))
    objects = graph["objects"]
    assert isinstance(objects, list)
    assert {each["name"] for each in objects if " " not in each["name"]} == set(network.nodes)
    edges = graph.get("edges", [])
    assert isinstance(edges, list)
    names = [each["name"] for each in objects]
    joined = sorted(tuple(sorted((names[e["tail"]].split()[0], names[e["head"]].split()[0]))) for e in edges)
    inner = [(each.split()[0],) * 2 for each in names if " " in each]
    assert joined == sorted([*(tuple(sorted((link.a[0], link.b[0]))) for link in network.links), *inner])


@pytest.mark.parametrize("title", TITLES)
def test_dot_is_read_by_graphviz_whatever_the_title(title: str) -> None:
    graph = graphviz(draw_dot(titled(title)))
    label = graph["label"]
    assert isinstance(label, str)
    # Graphviz keeps the escapes of labels; undone they are the title again, but for what cannot be printed.
    plain = label.replace("\\\\", "\\").replace('\\"', '"')
    assert plain == "".join(each if each.isprintable() else " " for each in title)


# -- Mermaid -------------------------------------------------------------------------------------------------------

_NODE = re.compile(r' {4}n\d+(\["[^"]*"\]|\{\{"[^"]*"\}\}|\(\["[^"]*"\]\)):::\w+\Z')
_EDGE = re.compile(r' {4}n\d+ (---|-\.-|-- "[^"]*" ---|-\. "[^"]*" \.-) n\d+\Z')
_CLASS = re.compile(r" {4}class(Def \w+ [\w:#,-]+| n\d+ changed)\Z")


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("condition", [Condition(), CONDITION])
def test_mermaid_keeps_to_a_few_plain_forms(title: str, condition: Condition) -> None:
    for network in (titled(title), *(shape().resolve() for shape in SHAPES.values())):
        first, name, last, kind, *lines = draw_mermaid(network, condition).splitlines()
        assert (first, last, kind) == ("---", "---", "flowchart TB")
        assert json.loads(name.removeprefix("title: "))
        for line in lines:
            assert _NODE.match(line) or _EDGE.match(line) or _CLASS.match(line), line
            assert not re.search(r"[<>](?!br/>|)", line.replace("<br/>", "")), line
        assert sum(bool(_NODE.match(line)) for line in lines) >= len(network.nodes)
        assert sum(bool(_EDGE.match(line)) for line in lines) >= len(network.links)


# -- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_json_has_every_node_interface_and_cable(shape: str) -> None:
    network = SHAPES[shape]().resolve()
    document = json.loads(draw_json(network))
    assert set(document) == {"format", "name", "title", "nodes", "segments", "links"}
    assert document["format"] == 1
    ends = {(node["name"], each["name"]) for node in document["nodes"] for each in node["interfaces"]}
    assert ends == {(interface.node, interface.name) for node in network for interface in node.interfaces}
    cables = [tuple((link[end]["node"], link[end]["interface"]) for end in "ab") for link in document["links"]]
    assert cables == [(link.a, link.b) for link in network.links]
    assert all(not link["down"] for link in document["links"])
    assert {link["segment"] for link in document["links"]} <= {each["name"] for each in document["segments"]}


# -- text ----------------------------------------------------------------------------------------------------------

TWO_LANS = """\
╔═════════════════════════════════════════════════════════════╗
║                      wan  172.16.0.0/24                     ║
╚═════════╤══════════════════════╤════════════════════╤═══════╝
          │                      │                    │
┌─────────┴─────────┐  ┌─────────┴─────────┐  ┌───────┴───────┐
│       home-a      │  │       home-b      │  │  coordinator  │
│    NAT article    │  │    NAT article    │  │  172.16.0.100 │
│   wan 172.16.0.1  │  │   wan 172.16.0.2  │  └───────────────┘
│ lan 10.1.0.254/24 │  │ lan 10.2.0.254/24 │
└─────────┬─────────┘  └─────────┬─────────┘
          │                      │
    ┌─────┴─────┐          ┌─────┴─────┐
    │   alice   │          │    bob    │
    │  10.1.0.1 │          │  10.2.0.1 │
    └───────────┘          └───────────┘"""


def test_a_small_lab_is_a_picture_and_a_large_one_a_tree() -> None:
    assert draw_text(two_lans().resolve()) == TWO_LANS
    for lab in ("star:50", "chain:30"):
        network = Topology.load(lab).resolve()
        assert draw_text(network) == draw_tree(network)
    assert draw_text(Topology().resolve()) == ""


@pytest.mark.parametrize("shape", SHAPES)
def test_no_line_of_a_picture_is_wider_than_it_may_be(shape: str) -> None:
    network = SHAPES[shape]().resolve()
    for columns in (40, 80, 100, 200):
        drawing = draw_text(network, columns=columns)
        assert drawing == draw_tree(network) or max(map(len, drawing.splitlines())) <= columns


# -- links ---------------------------------------------------------------------------------------------------------


def test_what_links_do_to_packets_stands_beside_them() -> None:
    t = Topology("impaired")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("server", wan, impairment={"delay": "20ms", "loss": "1%"})
    home = t.router("home", wan, impairment="4g")
    t.host("laptop", home, impairment={"up": {"rate": "10mbit"}, "down": {"rate": "50mbit"}})
    network = t.resolve()
    labels = {"20ms, loss 1%", "4g", "↑ 10mbit  ↓ 50mbit"}
    drawn = draw_text(network)
    assert all(label in drawn for label in labels)
    root = ElementTree.fromstring(draw_svg(network))
    shown = {group.find(f"{SVG}text") for group in root.iter(f"{SVG}g") if group.get("class") == "label"}
    assert {text.text for text in shown if text is not None} == labels
    assert 'label="4g"' in draw_dot(network)
    assert '-- "4g" ---' in draw_mermaid(network)
    (link,) = [link for link in json.loads(draw_json(network))["links"] if link["a"]["node"] == "laptop"]
    assert (link["a_sends"], link["b_sends"]) == ({"rate": "10mbit"}, {"rate": "50mbit"})


def test_links_that_are_declared_down_or_unplugged_are_drawn_so() -> None:
    t = Topology("down")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("a", wan)
    t.host("b", wan, state="down")
    t.host("c", wan, state="unplugged")
    network = t.resolve()
    drawn = draw_text(network)
    assert (drawn.count("down"), drawn.count("unplugged")) == (1, 1)
    assert [link["down"] for link in json.loads(draw_json(network))["links"]] == [False, True, True]
