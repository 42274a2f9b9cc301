#!/bin/bash
# The path alice -> home-a -> wan -> coordinator of the lab two-lans, laid by hand and held until standard input ends.
# Prints "ready". Run it in namespaces of its own, with a tmpfs over /run.
#
# One cable from alice to her router; a bridge only at the WAN's switch; the article's NAT, its filter mended.
set -eu

for name in alice home-a wan coordinator; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done

ip link add eth0 netns alice type veth peer name lan netns home-a
ip link add wan netns home-a type veth peer name home-a netns wan
ip link add eth0 netns coordinator type veth peer name coordinator netns wan

ip -n wan link add switch type bridge
ip -n wan link set home-a master switch
ip -n wan link set coordinator master switch
for interface in home-a coordinator switch; do
    ip -n wan link set "$interface" up
done

ip -n alice addr add 10.1.0.1/24 dev eth0
ip -n home-a addr add 10.1.0.254/24 dev lan
ip -n home-a addr add 172.16.0.1/24 dev wan
ip -n coordinator addr add 172.16.0.100/24 dev eth0
ip -n alice link set eth0 up
ip -n home-a link set lan up
ip -n home-a link set wan up
ip -n coordinator link set eth0 up
ip -n alice route add default via 10.1.0.254

ip netns exec home-a sysctl -qw net.ipv4.ip_forward=1
ip netns exec home-a nft -f - <<'RULES'
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        iif "wan" oif "lan" ct state related,established accept
        iif "lan" oif "wan" accept
    }
}
table ip nat {
    chain postrouting {
        type nat hook postrouting priority 100;
        masquerade random,persistent
    }
}
RULES

echo ready
cat >/dev/null
