"""Links as they are found in the world, by name, with where the figures are from.

They are approximations: one middle value for what varies with place, hour and provider. Delays are one way, half of
the round trip that the source has, and concern the access alone. `up` is what the subscriber sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from wanlab.topology.impairment import Bursts, Distribution, Impairment, QueueUnit

_MBIT = 1_000_000
_PARETO, _NORMAL, _PARETONORMAL = Distribution.PARETO, Distribution.NORMAL, Distribution.PARETONORMAL
_MS = QueueUnit.MS


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of link."""

    name: str
    up: Impairment
    down: Impairment
    about: str
    """What it is, in a sentence."""
    source: str
    """Where the figures are from."""


_ALL = (
    Profile(
        "lan",
        Impairment(0.1, rate_bps=1000 * _MBIT),
        Impairment(0.1, rate_bps=1000 * _MBIT),
        "gigabit Ethernet in a building",
        "IEEE 802.3 clause 40 (1000BASE-T), for the rate; a tenth of a millisecond is two switches and 100 m of cable",
    ),
    Profile(
        "wifi-good",
        Impairment(1.5, 0.5, _PARETONORMAL, rate_bps=100 * _MBIT, queue=50, queue_unit=_MS),
        Impairment(1.5, 0.5, _PARETONORMAL, rate_bps=100 * _MBIT, queue=50, queue_unit=_MS),
        "Wi-Fi near the access point, with the channel free",
        "Sui et al., Characterizing and Improving WiFi Latency, MobiSys 2016: median round trip 3 ms. Rate: a common "
        "one of home Wi-Fi, Sharma et al., Measuring the Prevalence of WiFi Bottlenecks, arXiv:2311.05499",
    ),
    Profile(
        "wifi-bad",
        Impairment(10, 8, _PARETO, bursts=Bursts(0.5, 25, 90), rate_bps=10 * _MBIT, queue=200, queue_unit=_MS),
        Impairment(10, 8, _PARETO, bursts=Bursts(0.5, 25, 90), rate_bps=10 * _MBIT, queue=200, queue_unit=_MS),
        "Wi-Fi two walls away, among neighbours: slow, uneven, and losing packets in bursts",
        "Pei et al., WiFi can be the weakest link of round trip network latency in the wild, INFOCOM 2016: half of all "
        "packets above 20 ms, a tenth above 100 ms. Loss: bursts of four packets, 1.8% in all, chosen",
    ),
    Profile(
        "3g",
        Impairment(75, 15, _NORMAL, rate_bps=750_000, queue=500, queue_unit=_MS),
        Impairment(75, 15, _NORMAL, rate_bps=1_600_000, queue=500, queue_unit=_MS),
        "a phone on 3G",
        "Lighthouse, docs/throttling.md, and WebPageTest 'Mobile 3G - Fast': 1.6 Mbit/s down, 750 kbit/s up, round "
        "trip 150 ms. Jitter and queue: chosen",
    ),
    Profile(
        "4g",
        Impairment(27, 7, _NORMAL, rate_bps=6_300_000, queue=200, queue_unit=_MS),
        Impairment(27, 7, _NORMAL, rate_bps=21_300_000, queue=200, queue_unit=_MS),
        "a phone on 4G (LTE)",
        "Opensignal, State of Mobile: USA, May 2019: 21.3 Mbit/s down, 6.3 up, round trips of 44 to 66 ms. Jitter and "
        "queue: chosen",
    ),
    Profile(
        "5g",
        Impairment(15, 4, _NORMAL, rate_bps=21 * _MBIT, queue=100, queue_unit=_MS),
        Impairment(15, 4, _NORMAL, rate_bps=166 * _MBIT, queue=100, queue_unit=_MS),
        "a phone on 5G",
        "Ookla, Growing and Slowing: The State of 5G Worldwide in 2021: medians of 166 Mbit/s down and 21 up. Delay, "
        "jitter and queue: chosen, a little better than 4G",
    ),
    Profile(
        "adsl",
        Impairment(12.5, 1, _NORMAL, rate_bps=384_000, queue=500, queue_unit=_MS),
        Impairment(12.5, 1, _NORMAL, rate_bps=1_500_000, queue=200, queue_unit=_MS),
        "a telephone line, far from the exchange",
        "WebPageTest, connectivity.ini.sample, 'DSL': 1.5 Mbit/s down, 384 kbit/s up, round trip 50 ms, of which half "
        "is taken for the access",
    ),
    Profile(
        "cable",
        Impairment(7, 2, _NORMAL, rate_bps=10 * _MBIT, queue=250, queue_unit=_MS),
        Impairment(7, 2, _NORMAL, rate_bps=100 * _MBIT, queue=100, queue_unit=_MS),
        "a television cable (DOCSIS)",
        "WebPageTest, connectivity.ini.sample, 'Cable': round trip 28 ms, of which half is taken for the access. "
        "Rates: a common offer, FCC, Measuring Fixed Broadband, Eighth Report (advertised up to 200 Mbit/s)",
    ),
    Profile(
        "fibre",
        Impairment(2, 0.2, _NORMAL, rate_bps=300 * _MBIT, queue=50, queue_unit=_MS),
        Impairment(2, 0.2, _NORMAL, rate_bps=300 * _MBIT, queue=50, queue_unit=_MS),
        "fibre to the home",
        "WebPageTest, connectivity.ini.sample, 'FIOS': round trip 4 ms. Rate: a common offer, chosen",
    ),
    Profile(
        "leo",
        Impairment(22, 5, _NORMAL, bursts=Bursts(0.05, 10), rate_bps=15 * _MBIT, queue=100, queue_unit=_MS),
        Impairment(22, 5, _NORMAL, bursts=Bursts(0.05, 10), rate_bps=150 * _MBIT, queue=100, queue_unit=_MS),
        "satellites in low orbit",
        "Michel et al., A first look at Starlink performance, IMC 2022: round trips of 40 to 60 ms, 100 to 200 Mbit/s "
        "down. Bursts of loss at handovers: Kassem et al., A browser-side view of Starlink connectivity, IMC 2022",
    ),
    Profile(
        "geo",
        Impairment(300, 10, _NORMAL, rate_bps=10 * _MBIT, queue=500, queue_unit=_MS),
        Impairment(300, 10, _NORMAL, rate_bps=100 * _MBIT, queue=500, queue_unit=_MS),
        "a geostationary satellite",
        "Huston, Testing LEO and GEO satellite services in Australia, APNIC 2022: round trips of about 600 ms. Rates: "
        "Michel et al., IMC 2022, a subscription of 100 Mbit/s down, 10 up",
    ),
    Profile(
        "congested",
        Impairment(20, 15, _PARETONORMAL, 1.0, rate_bps=2 * _MBIT, queue=250, queue_unit=_MS),
        Impairment(40, 30, _PARETONORMAL, 1.0, rate_bps=8 * _MBIT, queue=500, queue_unit=_MS),
        "a home's line in the evening, when everybody watches films",
        "FCC, Measuring Broadband America, Ninth Report, chart 8: at peak hours some subscribers lose more than 1% of "
        "packets. Delays are those of filled queues (RFC 7567, section 1.1), chosen",
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ALL}
