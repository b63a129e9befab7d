"""Waking one waiter of the ledger, whichever process it lives in.

Each waiter sleeps on a socket of its own. Its name is no file: it goes with its process, however that ends. Nothing
depends on being heard: waiters also look by and by, and do only that on systems other than Linux, without such names.
"""

import select
import socket
from typing import Final

from nsl_resources.admission.processes import IS_LINUX

_RING: Final = b"."


class Doorbell:
    """Where a waiter sleeps until it is rung; a selector can watch it."""

    def __init__(self, waiter: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if IS_LINUX:
            self._socket.bind(_address(waiter))

    def fileno(self) -> int:
        """Readable once it has been rung."""
        return self._socket.fileno()

    def sleep(self, seconds: float) -> None:
        """Sleeps so long, or until it is rung."""
        waiting = select.poll()  # not `select.select`, which serves no more than 1,024 open files
        waiting.register(self._socket, select.POLLIN)
        waiting.poll(1_000 * seconds)

    def hush(self) -> None:
        """Forgets the rings so far."""
        try:
            while self._socket.recv(len(_RING)):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Nobody sleeps here any more."""
        self._socket.close()


def ring(waiter: str) -> bool:
    """Wakes a waiter. False if nobody is there."""
    if not IS_LINUX:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(_RING, _address(waiter))
        except BlockingIOError:
            return True  # it has been rung so often that no more rings fit
        except ConnectionRefusedError:
            return False
    return True


def _address(waiter: str) -> str:
    return f"\0nsl-ledger-{waiter}"
