"""What theory says of two NATs: against the literature, and against itself."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wanlab.errors import TopologyError
from wanlab.punch.grid import combinations
from wanlab.punch.machine import Fate, Transport, possibilities
from wanlab.punch.theory import binomial_p_value, birthday, describe_odds, predict
from wanlab.topology.nat import NATS, Filtering, Hairpin, Mapping, Nat, Pooling, Ports, Unsolicited

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering
UDP, TCP = Transport.UDP, Transport.TCP
ALL_PORTS = 64_512  # 1024 to 65535


def preset(name: str) -> Nat | None:
    return NATS[name]


# -- the literature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(
    ("a", "b", "connects", "source"),
    [
        ("none", "none", True, "nobody is in the way"),
        ("port-restricted", "port-restricted", True, "RFC 5128, section 3.3; Ford et al., section 3.4"),
        ("linux", "linux", True, "Ford et al., section 3.4: different NATs, consistent translation"),
        ("home", "port-restricted", True, "RFC 4787 REQ-8: either filtering lets punching work"),
        ("full", "symmetric", True, "RFC 4787, section 5: endpoint-independent filtering is the most transparent"),
        ("address-restricted", "symmetric", True, "nat.md: what comes from that address is let in, by any port"),
        ("port-restricted", "symmetric", False, "Ford et al., section 5.1: a symmetric NAT defeats it"),
        ("symmetric", "symmetric", False, "Ford et al., section 5.1"),
        ("article", "article", False, "the article: `random` needs a relay"),
        (
            "symmetric-sequential",
            "port-restricted",
            False,
            "RFC 5128, section 3.5: only who predicts ports gets through",
        ),
        ("none", "symmetric", True, "RFC 5128, section 3.2: connection reversal"),
        ("hotel", "none", False, "RFC 8445, appendix B.5: relays exist for that"),
    ],
)
def test_the_literature_is_predicted(transport: Transport, a: str, b: str, connects: bool, source: str) -> None:
    assert predict(preset(a), preset(b), transport).connects is connects, source
    assert predict(preset(b), preset(a), transport).connects is connects, source


@pytest.mark.parametrize("transport", Transport)
def test_only_a_port_that_cannot_be_known_keeps_two_peers_apart(transport: Transport) -> None:
    """The rule of thumb, written down apart from the machine that the prediction comes from."""

    def reaches(sender: Nat, receiver: Nat) -> bool:
        """Whether the receiver hears the sender, who sends to where the rendezvous saw the receiver."""
        if receiver.filtering is EIF:
            return True
        # Else the receiver must have sent to the sender from the very port that is sent to, which only an
        # endpoint-independent mapping does, and to the sender's very port, where its filtering minds the port.
        return receiver.mapping is EIM and (receiver.filtering is ADF or sender.mapping is EIM)

    for a, b in itertools.product(combinations().values(), repeat=2):
        assert a is not None
        assert b is not None
        expected = reaches(a, b) or reaches(b, a)  # whoever is heard is answered
        assert predict(a, b, transport).connects is expected, (a.name, b.name)


def test_an_early_packet_that_the_router_answers_moves_the_punch_to_another_port() -> None:
    trapped = predict(preset("port-restricted"), preset("answering"))
    assert not trapped.connects
    assert trapped.odds == 0
    assert "unsolicited accept" in trapped.why
    assert predict(preset("answering"), preset("port-restricted")).connects, "the other's packet was not early"
    assert predict(preset("home"), preset("answering")).connects, "address-dependent filtering takes any port"


def test_a_refused_tcp_connection_is_tried_again_and_two_that_refuse_each_other_never_meet() -> None:
    rejecting = Nat("rejecting", filtering=APDF, unsolicited=Unsolicited.REJECT)
    answering = preset("answering")
    assert predict(preset("port-restricted"), rejecting, TCP).connects
    assert predict(preset("port-restricted"), answering, TCP).connects
    assert not predict(answering, answering, TCP).connects, "each reset forgets the session that the other needed"


def test_a_port_range_of_one_is_a_port_that_is_known() -> None:
    one = Nat("one", APDM, APDF, Ports.RANDOM, parity=False, first_port=5000, last_port=5000, hairpin=Hairpin.OFF)
    assert predict(one, preset("port-restricted")).connects


@pytest.mark.parametrize("ports", [2, 10, 1000])
def test_a_lucky_guess_is_as_probable_as_there_are_ports(ports: int) -> None:
    nat = Nat(
        "few", APDM, APDF, Ports.RANDOM, parity=False, first_port=5000, last_port=4999 + ports, hairpin=Hairpin.OFF
    )
    alone = predict(nat, preset("port-restricted"))
    assert not alone.connects
    assert alone.odds == pytest.approx(1 / ports)
    assert predict(nat, nat).odds == pytest.approx(1 / ports**2)
    assert alone.luck
    assert "lucky guess" in alone.why


def test_a_guess_among_all_ports_is_told_as_one_in_so_many() -> None:
    assert describe_odds(predict(preset("symmetric"), preset("port-restricted")).odds) == f"1 in {ALL_PORTS:,}"
    assert describe_odds(0.634) == "63%"


def test_another_external_address_for_each_destination_is_a_toss() -> None:
    arbitrary = Pooling.ARBITRARY
    two = Nat("two", APDM, ADF, Ports.RANDOM, parity=False, addresses=2, pooling=arbitrary, hairpin=Hairpin.OFF)
    assert predict(two, preset("home")).odds == pytest.approx(0.5, abs=1e-4)
    assert predict(replace(two, pooling=Pooling.PAIRED), preset("home")).connects


def test_the_axis_that_decides_is_named() -> None:
    why = predict(preset("symmetric"), preset("port-restricted")).why
    assert "a's port" in why
    assert "mapping address-and-port-dependent" in why
    assert "b's filtering" in why
    assert "udp_ports" in predict(preset("hotel"), preset("none")).why
    assert "tcp_ports" in predict(preset("hotel"), preset("none"), TCP).why


# -- what holds for all of them --------------------------------------------------------------------------------------


@st.composite
def nats(draw: st.DrawFn) -> Nat | None:
    if draw(st.integers(0, 9)) == 0:
        return None
    first = draw(st.sampled_from([1024, 30_000]))
    try:
        return Nat(
            "drawn",
            draw(st.sampled_from(Mapping)),
            draw(st.sampled_from(Filtering)),
            draw(st.sampled_from(Ports)),
            parity=draw(st.booleans()),
            first_port=first,
            last_port=first + draw(st.sampled_from([0, 1, 99, 30_000])),
            hairpin=Hairpin.OFF,
            unsolicited=draw(st.sampled_from(Unsolicited)),
            limit=draw(st.sampled_from([None, None, 1, 2])),
            addresses=draw(st.sampled_from([1, 1, 2])),
            pooling=draw(st.sampled_from(Pooling)),
        )
    except TopologyError:
        assume(False)
        raise


def silent(nat: Nat | None) -> bool:
    return nat is None or nat.unsolicited is Unsolicited.DROP


@given(nats(), nats(), st.sampled_from(Transport))
def test_who_is_first_matters_only_where_a_router_answers(a: Nat | None, b: Nat | None, transport: Transport) -> None:
    assume(silent(a) and silent(b))
    one, other = predict(a, b, transport), predict(b, a, transport)
    assert one.connects is other.connects
    assert one.odds == pytest.approx(other.odds)


@given(nats(), nats(), st.sampled_from(Transport))
def test_more_permissive_filtering_never_loses(a: Nat | None, b: Nat | None, transport: Transport) -> None:
    assume(a is not None and a.limit is None and (b is None or b.limit is None))
    assert a is not None
    odds = [predict(replace(a, filtering=filtering), b, transport).odds for filtering in (APDF, ADF, EIF)]
    assert odds[0] <= odds[1] + 1e-9
    assert odds[1] <= odds[2] + 1e-9


@given(nats(), nats(), st.sampled_from(Transport))
def test_odds_are_a_probability_and_agree_with_the_verdict(a: Nat | None, b: Nat | None, transport: Transport) -> None:
    prediction = predict(a, b, transport)
    assert 0 <= prediction.odds <= 1
    assert prediction.connects is (prediction.odds == 1)
    assert prediction.why


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=6))
def test_everything_that_can_happen_is_gone_through_once(chances: list[float]) -> None:
    def run(fate: Fate) -> tuple[bool, ...]:
        return tuple(fate.happens(chance) for chance in chances)

    outcomes = list(possibilities(run))
    assert sum(odds for odds, _ in outcomes) == pytest.approx(1)
    assert len({outcome for _, outcome in outcomes}) == len(outcomes)


# -- the birthday attack ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("probes", "percent"), [(174, 50), (256, 64), (1024, 98), (2048, 99.9)])
def test_the_published_rates_of_the_birthday_attack_come_out(probes: int, percent: float) -> None:
    assert 100 * birthday(256, probes, 65_536) == pytest.approx(percent, abs=1)


def test_the_birthday_attack_agrees_with_trying_it_out() -> None:
    chance = random.Random(4787)
    tries, ports = 4000, range(100)
    hits = sum(bool(set(chance.sample(ports, 7)) & set(chance.sample(ports, 9))) for _ in range(tries))
    assert hits / tries == pytest.approx(birthday(7, 9, 100), abs=0.04)


def test_a_birthday_attack_needs_as_many_ports_as_sockets() -> None:
    assert birthday(1, 1, 1) == 1
    assert birthday(0, 5, 10) == 0
    with pytest.raises(ValueError, match="11 sockets"):
        birthday(11, 1, 10)


def test_the_binomial_test_gives_what_others_publish() -> None:
    assert binomial_p_value(3, 15, 0.1) == pytest.approx(0.18406, abs=1e-5)  # SciPy's documentation of binomtest
    assert binomial_p_value(5, 10, 0.5) == pytest.approx(1)
    assert binomial_p_value(0, 20, 0.5) == pytest.approx(2 * math.pow(0.5, 20))
