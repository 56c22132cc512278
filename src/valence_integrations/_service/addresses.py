"""Which addresses may be given an upload: what the service names is not trusted."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["AddressRefusedError", "is_loopback", "is_public", "literal_address"]

#: IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits [RFC 6052].
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefusedError(Exception):
    """An upload would go to an address where the service must not send it."""


def literal_address(host: str) -> str | None:
    """Return the IP address that a host is, in any spelling that systems accept; None if it is a name.

    Examples
    --------
    >>> from valence_integrations._service.addresses import literal_address
    >>> [literal_address(host) for host in ("[::1]", "127.1", "0x7f000001", "localhost.", "example.com")]
    ['::1', '127.0.0.1', '127.0.0.1', '127.0.0.1', None]
    """
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError, ValueError):
        return None


def is_loopback(address: str) -> bool:
    """Return whether an IP address is of this machine."""
    return _effective(address).is_loopback


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet: not private, link-local, loopback or reserved."""
    found = _effective(address)
    return found.is_global and not found.is_multicast


def _effective(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address where packets arrive: IPv6 can contain an IPv4 address."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in _NAT64:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found.sixtofour or found
