"""Run an application as an HTTP server: a free port, one line with its address, a quiet end."""

import errno
import signal
import socket
from typing import TYPE_CHECKING

from workflow_r1.errors import UserError
from workflow_r1.running.configuration import require

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def require_server(purpose: str, *, web_sockets: bool = False) -> None:
    """Refuse where the packages of our servers are not installed.

    Raises:
        MissingExtraError: names the extra.
    """
    for module in ("starlette", "uvicorn", *(["websockets"] if web_sockets else [])):
        require(module, extra="serve", purpose=purpose)


def listen(host: str, port: int) -> socket.socket:
    """Take a port, before anything that takes long.

    Args:
        host: name or address of this machine.
        port: 0 takes any that is free.

    Raises:
        UserError: it is taken or forbidden, or the host is not this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"expected port {port} of {host} to be free, but something listens there: choose another --port, or stop "
                "what listens"
            ) from None
        if error.errno == errno.EACCES:
            raise UserError(
                f"expected a port that may be used, but {port} may not: choose a --port above 1023"
            ) from None
        raise UserError(
            f"expected --host to be an address of this machine, received {host} ({error.strerror})"
        ) from None
    # Connections inherit it. asyncio sets it only where a socket names its protocol, which this one does not; without it the
    # second part of every reply waits 40 ms for the acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address at which a client on this machine reaches the server."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_until_stopped(app: "ASGIApp", listening: socket.socket, *, web_sockets: bool = False) -> None:
    """Serve until Ctrl-C or a termination; requests that are under way are finished first, for at most 10 seconds."""
    import uvicorn

    from workflow_r1.services.connections import server_options

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=10,
            **server_options(max_connections=1024, web_sockets=web_sockets),
        )
    )
    # uvicorn hands on a signal that it has obeyed: a termination then ends as a Ctrl-C does.
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, terminate)
        listening.close()
