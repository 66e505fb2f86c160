"""How does a connection to a numeric address begin, and how does it end politely?"""

from __future__ import annotations

import contextlib
import socket


def begin(address: str, port: int, hops: int | None = None) -> tuple[socket.socket, int]:
    """A socket that has begun to connect, and the errno of connect(). `hops` lets its packets live that long only."""
    is_six = family_of(address) == "ipv6"
    connection = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if hops is not None:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if is_six else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            connection.setsockopt(level, option, hops)
        return connection, connection.connect_ex(socket_address(address, port))
    except OSError:
        connection.close()
        raise


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """What connect() wants for a numeric address; a link-local one brings its interface along."""
    if ":" not in address:
        return (address, port)
    bare, _, scope = address.partition("%")
    return (bare, port, 0, _index(scope))


def _index(scope: str) -> int:
    if not scope or scope.isdecimal():
        return int(scope or 0)
    try:
        return socket.if_nametoindex(scope)
    except OSError:
        return 0  # connect() will say that it leads nowhere


def family_of(address: str) -> str:
    """The name of a numeric address's family, as measurements spell it."""
    return "ipv6" if ":" in address else "ipv4"


def close(connection: socket.socket) -> None:
    """FIN, not RST: closing with an unread greeting in the buffer would reset the server's end."""
    with contextlib.suppress(OSError):
        if connection.gettimeout() != 0:
            connection.setblocking(False)
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while socket.socket.recv(connection, 65536):
            pass
    connection.close()
