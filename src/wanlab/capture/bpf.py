"""Filters as the kernel runs them: classic BPF (linux/filter.h), made of the tests that `packet_filter.py` has parsed.

What the kernel runs can be run here as well (`accepts`): one meaning for packets that are captured and for such as are
known already. Frames are Ethernet's, without VLAN tags, which labs do not have.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wanlab.capture.packet_filter import And, Condition, Direction, Length, Net, Not, Or, Port, Protocol
from wanlab.errors import UsageError

SO_ATTACH_FILTER = 26

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | BPF_ABS, by size
_LOAD_HALF_AT_X = 0x48  # BPF_LD | BPF_H | BPF_IND
_LOAD_LENGTH = 0x80  # BPF_LD | BPF_W | BPF_LEN
_X_IS_HEADER_LENGTH = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: 4 * (byte & 15)
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x15, 0x25, 0x35, 0x45  # BPF_JMP | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_RETURN = 0x06  # BPF_RET | BPF_K
_INTERFACE = 0xFFFFF000 + 8  # SKF_AD_OFF + SKF_AD_IFINDEX
_LOOPBACK = 1  # the ifindex of `lo` in every namespace
_FARTHEST, _LONGEST = 255, 4096  # a conditional jump; BPF_MAXINSNS

_ETHERTYPE, _IPV4, _IPV6, _ARP = 12, 0x0800, 0x86DD, 0x0806
_IP_PROTOCOL, _IP6_NEXT, _IP6_FRAGMENTED = 23, 20, 54
_FRAGMENT = 44  # IPv6's fragment header; what it carries is named at _IP6_FRAGMENTED
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "sctp": 132}
_PORTED = ("tcp", "udp", "sctp")  # what `port` alone asks of

Instruction = tuple[int, int, int, int]
"""Code, how far to jump if true, if false, and a constant."""
Program = tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class _Test:
    """Load something, and compare it."""

    loads: tuple[tuple[int, int], ...]
    compare: int
    value: int


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[_Tree, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[_Tree, ...]


@dataclass(frozen=True, slots=True)
class _No:
    what: _Tree


_Tree = _Test | _All | _Any | _No


def compile_filter(condition: Condition | None, snap_bytes: int = 65535, *, loopback: bool = True) -> Program:
    """A program that keeps *snap_bytes* of packets that fit; without *loopback* none of those of `lo`.

    Raises UsageError for one that is too long for the kernel.
    """
    parts: list[_Tree] = [] if loopback else [_No(_Test(((_LOAD_WORD, _INTERFACE),), _EQUAL, _LOOPBACK))]
    try:
        if condition is not None:
            parts.append(_tree(condition))
        return _assemble(_All(tuple(parts)), snap_bytes)
    except RecursionError:
        raise UsageError("the filter is nested too deep", hint="use fewer parentheses") from None


def attach(taking: socket.socket, program: Program) -> None:
    """Have the kernel run *program* on what comes to a socket; it takes the place of another. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    taking.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def accepts(program: Program, frame: bytes, length: int | None = None) -> bool:
    """Whether the kernel would keep *frame*, of which *length* bytes were on the wire."""
    a = x = at = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        match code:
            case 0x06:  # _RETURN
                return k > 0
            case 0x20 | 0x28 | 0x30 | 0x48:  # loads
                size = {0x20: 4, 0x28: 2, 0x48: 2, 0x30: 1}[code]
                place = k + x if code == _LOAD_HALF_AT_X else k
                if place + size > len(frame):
                    return False
                a = int.from_bytes(frame[place : place + size], "big")
            case 0x80:  # _LOAD_LENGTH
                a = len(frame) if length is None else length
            case 0xB1:  # _X_IS_HEADER_LENGTH
                if k >= len(frame):
                    return False
                x = 4 * (frame[k] & 15)
            case 0x54:  # _AND
                a &= k
            case 0x05:  # _JUMP
                at += k
            case _:
                true = {_EQUAL: a == k, _GREATER: a > k, _AT_LEAST: a >= k, _ANY_BIT: bool(a & k)}[code]
                at += yes if true else no


# -- conditions as tests of bytes ------------------------------------------------------------------------------------


def _tree(condition: Condition) -> _Tree:
    match condition:
        case And(parts):
            return _All(tuple(map(_tree, parts)))
        case Or(parts):
            return _Any(tuple(map(_tree, parts)))
        case Not(what):
            return _No(_tree(what))
        case Protocol(name):
            return _protocol(name)
        case Net():
            return _Any(tuple(_network(network, condition) for network in condition.networks))
        case Port():
            return _port(condition)
        case Length(least, most):
            if least is not None:
                return _Test(((_LOAD_LENGTH, 0),), _AT_LEAST, least)
            return _No(_Test(((_LOAD_LENGTH, 0),), _GREATER, most or 0))


def _ethertype(number: int) -> _Test:
    return _Test(((_LOAD_HALF, _ETHERTYPE),), _EQUAL, number)


def _byte(place: int, value: int) -> _Test:
    return _Test(((_LOAD_BYTE, place),), _EQUAL, value)


def _protocol(name: str) -> _Tree:
    if name in ("ip", "ip6", "arp"):
        return _ethertype({"ip": _IPV4, "ip6": _IPV6, "arp": _ARP}[name])
    number = _NUMBERS[name]
    in_ipv4 = _All((_ethertype(_IPV4), _byte(_IP_PROTOCOL, number)))
    fragment = _All((_byte(_IP6_NEXT, _FRAGMENT), _byte(_IP6_FRAGMENTED, number)))
    in_ipv6 = _All((_ethertype(_IPV6), _Any((_byte(_IP6_NEXT, number), fragment))))
    if name in ("icmp", "icmp6"):
        return in_ipv4 if name == "icmp" else in_ipv6
    return _Any((in_ipv4, in_ipv6))


def _ends(direction: Direction, source: _Tree, destination: _Tree) -> _Tree:
    match direction:
        case Direction.SOURCE:
            return source
        case Direction.DESTINATION:
            return destination
        case Direction.EITHER:
            return _Any((source, destination))
        case Direction.BOTH:
            return _All((source, destination))


def _network(network: IPv4Network | IPv6Network, asked: Net) -> _Tree:
    if isinstance(network, IPv6Network):
        return _All((_ethertype(_IPV6), _ends(asked.direction, _within(network, 22), _within(network, 38))))
    in_ip = _All((_ethertype(_IPV4), _ends(asked.direction, _within(network, 26), _within(network, 30))))
    in_arp = _All((_ethertype(_ARP), _ends(asked.direction, _within(network, 28), _within(network, 38))))
    if asked.protocol is not None:
        return in_arp if asked.protocol == "arp" else in_ip
    return _Any((in_ip, in_arp))


def _within(network: IPv4Network | IPv6Network, place: int) -> _Tree:
    """Whether the address at *place* lies in *network*, word by word."""
    address, mask = network.network_address.packed, network.netmask.packed
    tests = []
    for word in range(0, len(address), 4):
        bits, value = (int.from_bytes(part[word : word + 4], "big") for part in (mask, address))
        if bits == 0xFFFFFFFF:
            tests.append(_Test(((_LOAD_WORD, place + word),), _EQUAL, value))
        elif bits:
            tests.append(_Test(((_LOAD_WORD, place + word), (_AND, bits)), _EQUAL, value))
    return _All(tuple(tests))


def _port(asked: Port) -> _Tree:
    numbers = [_NUMBERS[name] for name in ((asked.protocol,) if asked.protocol else _PORTED)]
    in_ipv4 = _All(
        (
            _ethertype(_IPV4),
            _Any(tuple(_byte(_IP_PROTOCOL, number) for number in numbers)),
            _No(_Test(((_LOAD_HALF, 20),), _ANY_BIT, 0x1FFF)),  # only a first fragment has ports
            _ends(asked.direction, *(_in_range(asked, place, after_ipv4=True) for place in (14, 16))),
        )
    )
    in_ipv6 = _All(
        (
            _ethertype(_IPV6),
            _Any(tuple(_byte(_IP6_NEXT, number) for number in numbers)),
            _ends(asked.direction, *(_in_range(asked, place, after_ipv4=False) for place in (54, 56))),
        )
    )
    return _Any((in_ipv4, in_ipv6))


def _in_range(asked: Port, place: int, *, after_ipv4: bool) -> _Tree:
    loads = ((_X_IS_HEADER_LENGTH, 14), (_LOAD_HALF_AT_X, place)) if after_ipv4 else ((_LOAD_HALF, place),)
    if asked.first == asked.last:
        return _Test(loads, _EQUAL, asked.first)
    return _All((_Test(loads, _AT_LEAST, asked.first), _No(_Test(loads, _GREATER, asked.last))))


# -- tests as a program ----------------------------------------------------------------------------------------------


class _Assembler:
    """Puts the tests in a row, with jumps to labels; a label is a number, and gets its place when it is met."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int] | tuple[int, int, int, int] | int] = []
        """A load (code, constant), a comparison (code, constant, label if true, if false), or a label."""
        self._labels = 0

    def label(self) -> int:
        """A new one."""
        self._labels += 1
        return self._labels

    def add(self, tree: _Tree, yes: int, no: int) -> None:
        """What goes to *yes* where it holds, else to *no*."""
        match tree:
            case _Test(loads, compare, value):
                self.code += [*loads, (compare, value, yes, no)]
            case _No(what):
                self.add(what, no, yes)
            case _All(parts) | _Any(parts):
                every = isinstance(tree, _All)
                for part in parts[:-1]:
                    further = self.label()
                    self.add(part, further if every else yes, no if every else further)
                    self.code.append(further)
                if parts:
                    self.add(parts[-1], yes, no)
                else:
                    always = yes if every else no
                    self.code.append((_EQUAL, 0, always, always))


def _assemble(tree: _Tree, snap_bytes: int) -> Program:
    assembler = _Assembler()
    yes, no = assembler.label(), assembler.label()
    assembler.add(tree, yes, no)
    lines = assembler.code
    # A comparison takes one instruction where it can jump that far, else three; what jumps the same way in both cases
    # takes one. The program has only jumps forward, so from its end each distance is known when it is needed.
    program: list[Instruction] = [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, snap_bytes)]
    places = {no: 1, yes: 2}
    for line in reversed(lines):
        if isinstance(line, int):
            places[line] = len(program)
        elif len(line) == 2:
            program.append((line[0], 0, 0, line[1]))
        else:
            _add_jump(program, line, places)
    if len(program) > _LONGEST:
        raise UsageError(f"the filter takes {len(program)} instructions, of which the kernel runs {_LONGEST}")
    return tuple(reversed(program))


def _add_jump(program: list[Instruction], line: tuple[int, int, int, int], places: dict[int, int]) -> None:
    """*program* is the wrong way round: what comes next is its last, and a label's place is the length behind it."""
    compare, value, yes, no = line
    to_yes, to_no = len(program) - places[yes], len(program) - places[no]
    if yes == no:
        if to_yes:
            program.append((_JUMP, 0, 0, to_yes))
    elif max(to_yes, to_no) <= _FARTHEST:
        program.append((compare, to_yes, to_no, value))
    else:
        program.append((_JUMP, 0, 0, to_no))
        program.append((_JUMP, 0, 0, to_yes + 1))
        program.append((compare, 0, 1, value))
