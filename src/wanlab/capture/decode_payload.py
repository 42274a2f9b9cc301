"""What a UDP payload says, where it is STUN's (RFC 8489) or DNS's (RFC 1035): a few words behind a frame's line."""

from __future__ import annotations

import struct

from wanlab.capture.headers import Endpoint

_COOKIE = b"\x21\x12\xa4\x42"
_METHODS = {0x001: "binding", 0x003: "allocate", 0x004: "refresh", 0x006: "send", 0x007: "data", 0x008: "permission"}
_CLASSES = ("request", "indication", "response", "error")
_MAPPED, _XOR_MAPPED = 0x0001, 0x0020
_DNS_PORTS = (53, 5353)
_DNS_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 255: "ANY"}


def describe_payload(payload: bytes, ports: tuple[int, int]) -> str:
    """` STUN binding request`, ` DNS query A example.org`; empty for anything else."""
    if payload[4:8] == _COOKIE and len(payload) >= 20:
        return f" {_stun(payload)}"
    if len(payload) > 12 and any(port in _DNS_PORTS for port in ports):
        return _dns(payload)
    return ""


def _stun(payload: bytes) -> str:
    (kind,) = struct.unpack_from("!H", payload)
    method = kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    words = f"STUN {_METHODS.get(method, f'method {method}')} {_CLASSES[(kind >> 4 & 1) | (kind >> 7 & 2)]}"
    mapped = _mapped(payload)
    return f"{words}, mapped {mapped}" if mapped else words


def _mapped(payload: bytes) -> Endpoint | None:
    at = 20
    while at + 8 <= len(payload):
        kind, length = struct.unpack_from("!HH", payload, at)
        value = payload[at + 4 : at + 4 + length]
        if kind in (_MAPPED, _XOR_MAPPED) and len(value) in (8, 20):
            mask = payload[4:20] if kind == _XOR_MAPPED else bytes(16)
            address = bytes(byte ^ key for byte, key in zip(value[4:], mask, strict=False))
            port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(mask[:2], "big")
            return Endpoint.of(address, port)
        at += 4 + length + (-length % 4)
    return None


def _dns(payload: bytes) -> str:
    _, flags, questions, answers = struct.unpack_from("!HHHH", payload)
    labels: list[str] = []
    at = 12
    while questions and at < len(payload) and 0 < payload[at] < 64:
        labels.append(payload[at + 1 : at + 1 + payload[at]].decode("ascii", errors="replace"))
        at += 1 + payload[at]
    if not labels or at + 3 > len(payload):
        return ""
    (type_,) = struct.unpack_from("!H", payload, at + 1) if at + 3 <= len(payload) else (0,)
    name = "".join(character if character.isprintable() else "?" for character in ".".join(labels))
    asked = f"{_DNS_TYPES.get(type_, f'type {type_}')} {name}"
    if flags >> 15:
        return f" DNS answer {asked}: {answers} records" + (f", rcode {flags & 15}" if flags & 15 else "")
    return f" DNS query {asked}"
