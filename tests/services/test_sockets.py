import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpcore2
import pytest
from scripted_server import Answer, completion, serving

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.services.attempts import attempt_clock
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.sockets import SocketBackend

FAST = JSONServiceConfig(max_retries=0, backoff_seconds=0.0, timeout_seconds=20.0, concurrency=24)


def ask(url: str, *, times: int = 1, config: JSONServiceConfig = FAST) -> list[object]:
    service = JSONService(url, config, key="search.server.url")

    async def run() -> list[object]:
        return await asyncio.gather(*(service.ask({"q": 1}, lambda reply: reply) for _ in range(times)))

    return asyncio.run(run())


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    made: list[ssl.SSLContext] = []
    make = httpcore2.default_ssl_context

    def count(**options: bool) -> ssl.SSLContext:
        made.append(make(**options))
        return made[-1]

    monkeypatch.setattr(httpcore2, "default_ssl_context", count)
    return made


def test_an_address_without_encryption_makes_no_context(contexts: list[ssl.SSLContext]) -> None:
    with serving(Answer(completion())) as server:
        assert len(ask(server.url, times=4)) == 4
    assert contexts == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate by the program openssl")
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that handles each connection in a thread of its own; its port."""
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=handle, args=(client,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def relay(one: socket.socket, host: str, port: int) -> None:
    """Pass everything on between a connection and a server, until one of them ends."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with one, socket.create_connection((host, port)) as other:
        back = threading.Thread(target=pump, args=(other, one))
        back.start()
        pump(one, other)
        back.join()


@contextmanager
def encrypting(url: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    """Encrypted address of a server that speaks plainly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    parts = urlsplit(url)

    def handle(client: socket.socket) -> None:
        try:
            inside = context.wrap_socket(client, server_side=True)
        except OSError:
            client.close()
            return
        relay(inside, str(parts.hostname), int(parts.port or 0))

    with listening(handle) as port:
        yield f"https://localhost:{port}/"


@contextmanager
def tunnelling() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that opens tunnels; its address, and the heads of the requests that it was sent."""
    heads: list[bytes] = []

    def handle(client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        heads.append(head)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        host, _, port = head.split()[1].decode().rpartition(":")
        relay(client, host, int(port))

    with listening(handle) as port:
        yield f"http://user:pass%20word@127.0.0.1:{port}", heads


def test_encrypted_connections_share_one_context(
    certificate: tuple[Path, Path], contexts: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with serving(Answer({"long": "x" * 300_000})) as server, encrypting(server.url, certificate) as url:
        assert ask(url, times=4) == [{"long": "x" * 300_000}] * 4
    assert len(contexts) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    with (
        serving(Answer(completion())) as server,
        encrypting(server.url, certificate) as url,
        pytest.raises(ServiceUnavailableError, match=r"no connection \(.*certificate verify failed"),
    ):
        ask(url)
    assert server.requests == []


def test_an_encrypted_connection_goes_through_the_tunnel_of_a_proxy(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with (
        serving(Answer({"a": 1})) as server,
        encrypting(server.url, certificate) as url,
        tunnelling() as (proxy, heads),
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setattr("workflow_r1.services.proxies.is_loopback", lambda host: False)
        assert ask(url) == [{"a": 1}]
    (head,) = heads
    assert head.startswith(b"CONNECT localhost:")
    # "user:pass word", as Basic authentication writes it.
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=" in head


async def stream_to(port: int) -> httpcore2.AsyncNetworkStream:
    return await SocketBackend().connect_tcp("127.0.0.1", port, timeout=5.0)


def test_a_stream_reads_bounded_parts_and_waits_no_longer_than_asked() -> None:
    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(3)
            writer.write(b"x" * (1 << 20))
            await reader.readexactly(3)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            stream = await stream_to(server.sockets[0].getsockname()[1])
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(10, timeout=0.01)
            assert not stream.get_extra_info("is_readable")
            await stream.write(b"one", timeout=1.0)
            parts = [await stream.read(1000, timeout=5.0)]
            while sum(map(len, parts)) < 1 << 20:
                # The other side waits while nobody reads: little is kept here.
                assert stream._num_bytes < (1 << 19)  # type: ignore[attr-defined]
                parts.append(await stream.read(1000, timeout=5.0))
            assert max(map(len, parts)) == 1000
            assert b"".join(parts) == b"x" * (1 << 20)
            await stream.write(b"two", timeout=1.0)
            assert await stream.read(10, timeout=5.0) == b""
            assert stream.get_extra_info("is_readable")
            await stream.aclose()
            with pytest.raises(httpcore2.WriteError):
                await stream.write(b"three", timeout=1.0)

    asyncio.run(run())


def test_a_loop_that_was_busy_beyond_the_time_finds_what_came_meanwhile() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            time.sleep(0.1)
            connection.sendall(b"late")
            connection.recv(1)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(
            SocketBackend().connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=0.1)
        )
        loop.call_later(0.0, time.sleep, 0.5)
        stream = await opening
        await stream.write(b"a", timeout=1.0)
        reading = asyncio.ensure_future(stream.read(10, timeout=0.2))
        loop.call_later(0.01, time.sleep, 0.5)
        assert await reading == b"late"
        await stream.aclose()

    server = threading.Thread(target=answer)
    server.start()
    with listener:
        asyncio.run(run())
    server.join()


def test_a_peer_that_takes_nothing_is_waited_for_no_longer_than_asked() -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await done.wait()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1024)
        async with server:
            stream = await stream_to(server.sockets[0].getsockname()[1])
            with pytest.raises(httpcore2.WriteTimeout):
                for _ in range(1000):
                    await stream.write(b"x" * (1 << 20), timeout=0.05)
            await stream.aclose()
            done.set()

    asyncio.run(run())


def test_a_burst_of_connections_is_opened_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to connect counts from when a connection's turn has come."""
    under_way: list[int] = [0, 0]

    async def run() -> None:
        loop = asyncio.get_running_loop()

        async def create(*arguments: object, **options: object) -> tuple[None, object]:
            under_way[0] += 1
            under_way[1] = max(under_way)
            await asyncio.sleep(0.02)
            under_way[0] -= 1
            return None, object()

        monkeypatch.setattr(loop, "create_connection", create)
        backend = SocketBackend()
        await asyncio.gather(*(backend.connect_tcp("127.0.0.1", 1, timeout=5.0) for _ in range(200)))

    asyncio.run(run())
    assert under_way == [0, 64]


def test_the_wait_for_a_turn_to_connect_takes_nothing_of_an_attempts_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()

        async def create(*arguments: object, **options: object) -> tuple[None, object]:
            return None, object()

        monkeypatch.setattr(loop, "create_connection", create)
        backend = SocketBackend()
        for _ in range(64):
            await backend._opening.acquire()
        loop.call_later(1.0, backend._opening.release)
        async with asyncio.timeout(0.5) as clock:
            attempt_clock.set(clock)
            await backend.connect_tcp("127.0.0.1", 1, timeout=5.0)
            assert 0.0 < clock.when() - loop.time() <= 0.5

    asyncio.run(run())


def test_nobody_at_an_address_is_a_failure_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(httpcore2.ConnectError):
        asyncio.run(stream_to(port))
