"""Real programs behind NATs, as tests: `python -m pytest examples/pytest` with wanlab installed."""

import json

from wanlab import Lab


def test_iperf3_sees_the_router_and_moves_data(lab: Lab) -> None:
    with lab["coordinator"].serve(["iperf3", "--server"], tcp_port=5201):
        done = lab["alice"].run(
            ["iperf3", "--client", "coordinator", "--time", "1", "--json"], capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > 1_000_000


def test_names_are_served_by_dnsmasq_through_a_nat(lab: Lab) -> None:
    server = str(lab["coordinator"].address)
    dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=", "--group=", "--no-resolv",
               "--no-hosts", "--pid-file=", "--log-facility=-", "--log-queries",
               "--address=/service.example/198.51.100.7"]  # fmt: skip
    with lab["coordinator"].serve(dnsmasq, udp_port=53) as dns:
        dig = ["dig", "+short", f"@{server}", "service.example"]
        for client in ("alice", "bob"):
            assert lab[client].run(dig, capture_output=True, text=True, check=True).stdout == "198.51.100.7\n"
        asked = dns.log.text()
    assert f"from {lab['home-a'].wan.address}" in asked
    assert f"from {lab['home-b'].wan.address}" in asked
