"""What a failed request to a server of tools means: whether it was carried out, and what mends it."""

from collections.abc import Iterator

from graph.actions.mcp_wire import BROKEN, GONE, REFUSED, status_in
from graph.connection import connection_trouble

_SERVERS, _TOKENS = "SUPPORT_MCP_SERVERS", "SUPPORT_MCP_TOKENS"
_TIMED_OUT = -32001
_CLOSED = -32000
_NOT_TAKEN = frozenset({-32601, -32602, -32020})  # unknown method or tool, invalid arguments, headers that do not fit
_REFUSING = frozenset({400, 401, 403, 404, 405, 406, 413, 415, 421, 422, 429})
_BUSY = 429


class Failure(Exception):
    """A request that failed; its words are ours, never the server's."""

    def __init__(
        self, reason: str, remedy: str, *, is_certain: bool = False, is_down: bool = True, is_gone: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.is_certain = is_certain
        """The call has certainly not been carried out."""
        self.is_down = is_down
        """No call would do better at the moment."""
        self.is_gone = is_gone
        """The server has forgotten the session, which may be opened again at once."""


def failure_of(error: Exception, fault: Exception | None, limit: float) -> Failure:
    """Return what an error of the SDK means; `fault` is the latest error of a connection."""
    if isinstance(error, Failure):
        return error
    code = next(_codes(error), None)
    if isinstance(error, TimeoutError) or code == _TIMED_OUT:
        return Failure(f"did not answer within {limit:g} s", "look at its log, and whether it is overloaded")
    if code is None:
        return Failure("does not speak MCP", f"correct {_SERVERS}, whose addresses usually end in /mcp", is_down=False)
    if (status := status_in(code)) is not None:
        return _of_status(status)
    if code == REFUSED:
        trouble = fault and connection_trouble(fault, _SERVERS, "SSL_CERT_FILE")
        reason, remedy = trouble or ("can't be reached", f"start the server, or correct its address in {_SERVERS}")
        return Failure(reason, remedy, is_certain=True)
    if code in (BROKEN, _CLOSED):
        return Failure("broke the connection off", "look at its log")
    return Failure("answers with an error of its own", "look at its log", is_certain=code in _NOT_TAKEN, is_down=False)


def _of_status(status: int) -> Failure:
    is_certain = status in _REFUSING
    if status in (401, 403):
        return Failure(f"refuses the token (HTTP {status})", f"correct its token in {_TOKENS}", is_certain=is_certain)
    if status == 421:
        return Failure(
            "refuses the host name in its address", "allow that name in the server's settings", is_certain=True
        )
    if status == GONE:
        return Failure("has forgotten the session", "wait a moment", is_certain=True, is_gone=True)
    if status == 404:
        remedy = f"correct its path in {_SERVERS}, which is usually /mcp"
        return Failure("has nothing at this address (HTTP 404)", remedy, is_certain=True)
    is_down = status == _BUSY or status >= 500
    return Failure(f"answers with HTTP {status}", "look at its log", is_certain=is_certain, is_down=is_down)


def _codes(error: BaseException) -> Iterator[int]:
    """Yield the codes of the SDK's errors in a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:  # pyright: ignore[reportUnknownVariableType] - of any errors
            yield from _codes(each)  # pyright: ignore[reportUnknownArgumentType] - the same
    elif isinstance(code := getattr(error, "code", None), int):
        yield code
