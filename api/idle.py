"""A limit on idle connections per client address, since a process can hold only so many open."""

from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager

MOST_IDLE = 250
"""Idle connections per client address: a quarter of the 1,024 files that a process may have open by default."""

_NEW = 3


class IdleConnections:
    """The connections that wait for a request or a message; an address that has too many loses its longest idle one."""

    def __init__(self) -> None:
        self._by_address: dict[str, OrderedDict[object, Callable[[], object]]] = {}

    def begin(self, address: str, connection: object, close: Callable[[], object], *, is_new: bool = False) -> None:
        """Count a connection as idle from now on; `close` is called if it becomes one too many.

        Of new ones, for which a request may be on its way, there may be three times as many until they `settle`.
        """
        idle = self._by_address.setdefault(address, OrderedDict())
        idle[connection] = close
        self._bound(idle, _NEW * MOST_IDLE if is_new else MOST_IDLE)

    def settle(self, address: str) -> None:
        """Count one of an address' new connections as any other."""
        if idle := self._by_address.get(address):
            self._bound(idle, MOST_IDLE)

    @staticmethod
    def _bound(idle: OrderedDict[object, Callable[[], object]], most: int) -> None:
        if len(idle) > most:
            _, close_oldest = idle.popitem(last=False)
            close_oldest()

    def end(self, address: str, connection: object) -> None:
        """Count a connection as idle no longer."""
        idle = self._by_address.get(address)
        if idle is not None:
            idle.pop(connection, None)
            if not idle:
                del self._by_address[address]

    @contextmanager
    def counted(self, address: str, close: Callable[[], object]) -> Generator[None]:
        """Count a connection as idle for as long as the block lasts."""
        connection = object()
        self.begin(address, connection, close)
        try:
            yield
        finally:
            self.end(address, connection)
