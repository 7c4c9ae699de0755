"""Proxies in front of the server: which are trusted, and the client that they name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final, final

FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_PROTO: Final = b"x-forwarded-proto"
FORWARDED: Final = b"forwarded"
FIELDS: Final = frozenset({FORWARDED_FOR, FORWARDED_PROTO, FORWARDED})

SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}

PAIR: Final = re.compile(rb'\s*([A-Za-z]+)=(?:"([^"]*)"|([^;,\s"]*))\s*')

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@final
class Trusted:
    """The peers that are trusted as proxies.

    Args:
        addresses: addresses and networks, or ``"*"`` for all.

    Raises:
        ValueError: an address is none.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._all = False
        self._networks: list[Network] = []
        for text in addresses:
            if text == "*":
                self._all = True
            else:
                self._networks.append(parse_network(text))

    def includes(self, host: str | None) -> bool:
        """Return whether a peer is trusted; one without a host is connected by a UNIX socket."""
        if self._all or host is None:
            return True
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def nearest_stranger(self, hosts: list[str]) -> str:
        """Return the last host that is not a trusted proxy: a client can forge those before it.

        Args:
            hosts: the way of a request, from its client on; at least one.
        """
        for host in reversed(hosts):
            if self._all or not self.includes(host):
                return hosts[0] if self._all else host
        return hosts[0]


def parse_network(text: str) -> Network:
    """Return an address or a network of the options.

    Raises:
        ValueError: it is neither.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"trusted: {text!r} is not an address\n  right: '10.0.0.1', '10.0.0.0/8', '::1' or '*'"
        ) from None


def heed(scope: dict[str, Any], fields: list[tuple[bytes, bytes]], trusted: Trusted) -> None:
    """Set the client and the scheme of a scope, as a trusted proxy names them.

    ``Forwarded`` counts only where none of the older fields is there: a proxy that writes those
    passes a client's ``Forwarded`` on.
    """
    older = [(name, value) for name, value in fields if name != FORWARDED]
    if older:
        hosts, proto = read_older(older)
    else:
        hosts, proto = read_forwarded(b",".join(value for _, value in fields))
    if proto in SCHEMES:
        scope["scheme"] = SCHEMES[proto]
    if hosts:
        scope["client"] = (trusted.nearest_stranger(hosts), 0)


def read_older(fields: list[tuple[bytes, bytes]]) -> tuple[list[str], bytes]:
    """Return the hosts and the scheme in ``X-Forwarded-For`` and ``X-Forwarded-Proto``."""
    hosts = b",".join(value for name, value in fields if name == FORWARDED_FOR)
    protos = [value for name, value in fields if name == FORWARDED_PROTO]
    proto = protos[-1].rpartition(b",")[2].strip().lower() if protos else b""
    return [host for each in hosts.split(b",") if (host := bare_host(each))], proto


def read_forwarded(value: bytes) -> tuple[list[str], bytes]:
    """Return the hosts and the last scheme in ``Forwarded`` (RFC 7239); nothing if malformed."""
    hosts, proto = [], b""
    for element in value.split(b","):
        for pair in element.split(b";"):
            match = PAIR.fullmatch(pair)
            if match is None:
                return [], b""
            found = match[2] if match[2] is not None else match[3]
            if match[1].lower() == b"for" and (host := bare_host(found)):
                hosts.append(host)
            elif match[1].lower() == b"proto":
                proto = found.lower()
    return hosts, proto


def bare_host(raw: bytes) -> str:
    """Return a host without its port and brackets; empty if there is none."""
    text = raw.strip().decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
