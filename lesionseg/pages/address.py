"""Where a page is served, and for whom; nothing heavy is imported here."""

import argparse
import socket
from dataclasses import dataclass

from lesionseg.errors import DataError

LOOPBACK = ("127.0.0.1", "localhost")
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """Where a page is served.

    Attributes:
        host: the address that is listened on.
        port: None for the first free one from 7860 on.
        auth: name and password that are asked for.
    """

    host: str = LOOPBACK[0]
    port: int | None = None
    auth: tuple[str, str] | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def check(self) -> None:
        """Try whether it can be listened on; Gradio would try a hundred ports, five seconds each.

        Raises:
            DataError: it cannot.
        """
        try:
            socket.create_server((self.host, self.port or 0)).close()
        except OSError as error:
            # Python repeats the address in brackets.
            reason = str(error.strerror).partition(" (")[0]
            what = f"port {self.port}" if self.port else "this address"
            raise DataError(
                f"{self.host}: {what} cannot be listened on ({reason}), expected an address of this machine and a port "
                "that no other program uses. Choose another --host or --port."
            ) from error


def add_address_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the tools that serve a page share; `address_of` reads them."""
    group = parser.add_argument_group("who sees the page")
    group.add_argument(
        "--host",
        default=LOOPBACK[0],
        help="address to listen on, such as 0.0.0.0 for the whole network; needs --auth (default: this machine alone)",
    )
    group.add_argument(
        "--port", type=_port, metavar="N", help="expected to be free (default: the first free one from 7860 on)"
    )
    group.add_argument("--auth", type=_auth, metavar="USER:PASSWORD", help="what the page asks for")


def address_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Address:
    """Read the arguments of `add_address_arguments`; others on the network are never let in without a password."""
    address = Address(args.host, args.port, args.auth)
    if not address.is_local and address.auth is None:
        parser.error(f"--host {address.host} lets others see the images: it needs --auth USER:PASSWORD")
    return address


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 to {_LARGEST_PORT}")
    return int(text)


def _auth(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        # What was typed may be half a password, and is not repeated.
        raise argparse.ArgumentTypeError("expected a name and a password with a colon between them")
    return user, password
