"""Notes every attempt of this process to reach another machine, also one that is caught: nothing here phones home."""

import ipaddress
import socket
import sys

# What was tried since a test began, as (event, address).
attempts: list[tuple[str, object]] = []


def is_local(host: object) -> bool:
    """Whether a host, by name or address, is this machine; a path of a Unix socket is."""
    try:
        return not host or ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return host in ("localhost", socket.gethostname())


def note(event: str, arguments: tuple) -> None:
    """An audit hook: remember connections and look-ups of names that leave this machine."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = address = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
    else:
        return
    if not is_local(host):
        attempts.append((event, address))


def watch() -> None:
    """Begin to note; a hook stays as long as Python runs."""
    sys.addaudithook(note)
