"""Connecting to one of the addresses of a host, within one connect timeout for all of them."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from valence_integrations._service.addresses import AddressRefusedError
from valence_integrations._service.bounded import Call

__all__ = ["connect"]


def connect(connection: Any) -> socket.socket:
    """Connect to the first address of a host that accepts, as urllib3's connections do.

    The time begins when the name is resolved, which has no bound. An address may take half of what is left, and the
    last one all of it: one that does not answer leaves time for the others.

    Parameters
    ----------
    connection : urllib3.connection.HTTPConnection
        The host, the timeout, and the options of the socket.

    Raises
    ------
    urllib3.exceptions.HTTPError
        Without a connection.
    AddressRefusedError
        If the call allows none of the addresses.
    """
    allows = Call.current().allows
    addresses = _addresses(connection)
    if allows is not None:
        # Checked here, since a name may resolve to something else the next time.
        addresses = list(filter(allows, addresses))
        if not addresses:
            raise AddressRefusedError
    deadline = time.monotonic() + connection.timeout
    failure: OSError = OSError("there is no address")
    for number, address in enumerate(addresses, 1):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            made = create_connection(
                (address, connection.port),
                left if number == len(addresses) else left / 2,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError as error:
            failure = error
        else:
            made.settimeout(connection.timeout)
            sys.audit("http.client.connect", connection, connection.host, connection.port)
            return made
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(
            connection, f"Connection to {connection.host} timed out. (connect timeout={connection.timeout})"
        ) from failure
    raise NewConnectionError(connection, f"Failed to establish a new connection: {failure}") from failure


def _addresses(connection: Any) -> list[str]:
    """Return the addresses of the host, each one once."""
    # Not public: `host` lacks the dot that ends an absolute name.
    host = connection._dns_host.strip("[]")
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"'{host}', label empty or too long") from None
    try:
        found = socket.getaddrinfo(host, connection.port, allowed_gai_family(), socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
