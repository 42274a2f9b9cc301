#!/bin/bash
# The article's two-LAN lab, built by the article's own commands and taken down again.
# Prints {"up_s": SECONDS, "down_s": SECONDS}. Run it in namespaces of its own, with a tmpfs over /run.
#
# Left out, in the article's favour: sudo, and what it sets up only to show and then undoes (pings, the addresses that
# move). Mended, as the lab would not do what the article says otherwise: the forward chain drops by default and lets
# new connections out; the filter names each router's interfaces by their roles; the second router forwards too (the
# article types ns1 twice).
set -eu

build() {
    # The WAN: ns1 (router), ns2 (switch and server), ns3 (router)
    ip netns add ns1
    ip netns exec ns1 ip link add veth-ns1 type veth peer name peer-ns1
    ip netns add ns2
    ip netns exec ns1 ip link set peer-ns1 netns ns2
    ip netns exec ns1 ip link set veth-ns1 up
    ip netns exec ns2 ip link set peer-ns1 up
    ip netns exec ns1 ip addr add 172.16.0.1/24 dev veth-ns1

    ip netns add ns3
    ip netns exec ns3 ip link add veth-ns3 type veth peer name peer-ns3
    ip netns exec ns3 ip link set peer-ns3 netns ns2
    ip netns exec ns3 ip link set veth-ns3 up
    ip netns exec ns2 ip link set peer-ns3 up

    ip netns exec ns2 ip link add name br0 type bridge
    ip netns exec ns2 ip link set br0 up
    ip netns exec ns2 ip link set peer-ns1 master br0
    ip netns exec ns2 ip link set peer-ns3 master br0
    ip netns exec ns3 ip addr add 172.16.0.2/24 dev veth-ns3
    ip netns exec ns2 ip addr add 172.16.0.100/24 dev br0

    lan ns1 ns4 10.1.0
    lan ns3 ns5 10.2.0
}

# lan ROUTER HOST PREFIX: the article types these commands twice, once a LAN
lan() {
    ip netns exec "$1" sysctl -qw net.ipv4.ip_forward=1
    ip netns add "$2"
    ip netns exec "$2" ip link add "veth-$2" type veth peer name "peer-$2"
    ip netns exec "$2" ip link set "peer-$2" netns "$1"
    ip netns exec "$2" ip link set "veth-$2" up
    ip netns exec "$1" ip link set "peer-$2" up

    ip netns exec "$1" nft add table inet filter
    ip netns exec "$1" nft add chain inet filter forward '{ type filter hook forward priority 0 ; policy drop ; }'
    ip netns exec "$1" nft add rule inet filter forward iif "veth-$1" oif "peer-$2" ct state related,established accept
    ip netns exec "$1" nft add rule inet filter forward iif "peer-$2" oif "veth-$1" accept

    ip netns exec "$1" nft add table nat
    ip netns exec "$1" nft add chain nat postrouting '{ type nat hook postrouting priority 100 ; }'
    ip netns exec "$1" nft add rule nat postrouting masquerade random,persistent

    ip netns exec "$1" ip addr add "$3.254/24" dev "peer-$2"
    ip netns exec "$2" ip addr add "$3.1/24" dev "veth-$2"
    ip netns exec "$2" ip route add default via "$3.254" dev "veth-$2"
}

prove() {
    for host in ns4 ns5; do
        ip netns exec "$host" ping -qc1 -W1 172.16.0.100 >&2
    done
}

take_down() {
    for name in ns1 ns2 ns3 ns4 ns5; do
        ip netns del "$name"
    done
}

# seconds_since MOMENT, both in microseconds
seconds_since() {
    local elapsed=$((${EPOCHREALTIME/[^0-9]/} - $1))
    printf '%d.%06d' $((elapsed / 1000000)) $((elapsed % 1000000))
}

start=${EPOCHREALTIME/[^0-9]/}
build
up_s=$(seconds_since "$start")
prove

start=${EPOCHREALTIME/[^0-9]/}
take_down
down_s=$(seconds_since "$start")
printf '{"up_s": %s, "down_s": %s}\n' "$up_s" "$down_s"
