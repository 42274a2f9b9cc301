"""Where things are in a picture: nothing lies on anything else, and every cable is there."""

from __future__ import annotations

import time
from collections import Counter
from itertools import combinations, pairwise

import pytest
from hypothesis import given

from tests.drawing.networks import networks, patiently
from tests.support.shapes import SHAPES, star
from wanlab.drawing import svg, text_picture
from wanlab.drawing.layout import Picture, Placed, Point, Ruler, Way, lay_out
from wanlab.drawing.scene import Condition, scene
from wanlab.topology import catalogue
from wanlab.topology.network import Network
from wanlab.topology.topology import Topology

RULERS = {"svg": svg.RULER, "text": text_picture.RULER}
LABS = [*catalogue.names(), "homes:20", "star:200", "chain:30", "homes:100"]


def overlap(a: Placed, b: Placed) -> bool:
    return a.x <= b.x + b.width and b.x <= a.x + a.width and a.y <= b.y + b.height and b.y <= a.y + a.height


def on_edge(point: Point, box: Placed) -> bool:
    x, y = point
    within = box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height
    return within and (x in (box.x, box.x + box.width) or y in (box.y, box.y + box.height))


def passes(way: Way, box: Placed) -> bool:
    """Whether a line goes through a box, its edges included."""
    for (ax, ay), (bx, by) in pairwise(way.points):
        if (
            max(ax, bx) >= box.x
            and min(ax, bx) <= box.x + box.width
            and max(ay, by) >= box.y
            and min(ay, by) <= box.y + box.height
        ):
            return True
    return False


def check(network: Network, picture: Picture, ruler: Ruler, *, around: bool = True) -> None:
    """*around*: whether every line must find a way around the boxes."""
    boxes = {placed.box.key: placed for placed in picture.boxes}
    assert set(boxes) >= set(network.nodes)
    for a, b in combinations(picture.boxes, 2):
        assert not overlap(a, b), (a.box.key, b.box.key)
    for placed in picture.boxes:
        assert placed.x >= 0
        assert placed.y >= 0
        assert placed.x + placed.width <= picture.width
        assert placed.y + placed.height <= picture.height
        texts = [(placed.box.name, True), *((row.text, False) for row in placed.box.rows)]
        if placed.box.is_bar:
            assert sum(ruler.text_width(*text) for text in texts) < placed.width
        else:
            assert max(ruler.text_width(*text) for text in texts) < placed.width
            assert len(texts) * ruler.line <= placed.height
    assert Counter(way.wire.link for way in picture.ways if way.wire.link) == Counter(network.links)
    for way in picture.ways:
        assert len(way.points) >= 2
        assert all(ax == bx or ay == by for (ax, ay), (bx, by) in pairwise(way.points)), way
        assert all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in way.points)
        if around:
            assert on_edge(way.points[0], boxes[way.wire.a])
            assert on_edge(way.points[-1], boxes[way.wire.b])
            for placed in picture.boxes:
                if placed.box.key not in (way.wire.a, way.wire.b):
                    assert not passes(way, placed), (way, placed.box.key)


@pytest.mark.parametrize("ruler", RULERS)
@pytest.mark.parametrize("lab", LABS)
def test_nothing_overlaps_and_every_cable_is_drawn_in_pictures_of_the_catalogue(lab: str, ruler: str) -> None:
    network = Topology.load(lab).resolve()
    check(network, lay_out(scene(network), RULERS[ruler]), RULERS[ruler])


@pytest.mark.parametrize("ruler", RULERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_overlaps_and_every_cable_is_drawn_in_pictures_of_every_shape(shape: str, ruler: str) -> None:
    network = SHAPES[shape]().resolve()
    check(network, lay_out(scene(network), RULERS[ruler]), RULERS[ruler])


@pytest.mark.parametrize("ruler", RULERS)
@patiently
@given(networks())
def test_nothing_overlaps_and_every_cable_is_drawn_in_pictures_of_any_network(ruler: str, network: Network) -> None:
    # Where cables are many they may take all room around a box: then a line goes behind others.
    check(network, lay_out(scene(network), RULERS[ruler]), RULERS[ruler], around=False)


def test_labels_have_room_between_boxes() -> None:
    network = Topology.load("star:30").resolve()
    everything = Condition(frozenset(end for link in network.links for end in (link.a, link.b)))
    picture = lay_out(scene(network, everything), svg.RULER)
    labels = [way.label_at for way in picture.ways if way.label_at is not None]
    assert len(labels) == 30
    half = svg.RULER.text_width("down", False) // 2
    for x, y in labels:
        for box in picture.boxes:
            assert not (
                box.x < x + half and x - half < box.x + box.width and box.y < y + 9 and y - 9 < box.y + box.height
            )


def test_many_hosts_make_a_picture_that_a_page_has_room_for() -> None:
    for lab in ("star:200", "homes:100", "chain:30"):
        picture = lay_out(scene(Topology.load(lab).resolve()), svg.RULER)
        assert 0.4 < picture.width / picture.height < 2.8, lab
        assert picture.width < 3200, lab


def test_a_long_chain_is_continued_beside_and_hangs_together() -> None:
    network = Topology.load("chain:30").resolve()
    picture = lay_out(scene(network), svg.RULER)
    places = {placed.box.key: placed for placed in picture.boxes}
    assert len({placed.x + placed.width // 2 for placed in picture.boxes}) <= 6, "columns"
    assert places["r1"].x < places["r15"].x < places["r30"].x
    assert picture.height < 1300


def test_a_thousand_hosts_are_placed_at_once() -> None:
    network = star(1000).resolve()
    start = time.process_time()
    lay_out(scene(network), svg.RULER)
    assert time.process_time() - start < 5
