import asyncio
import socket

import pytest


def test_a_connection_to_the_outside_is_refused(no_network):
    with socket.socket() as client, pytest.raises(ConnectionError, match="stay on this machine"):
        client.connect(("192.0.2.1", 80))
    with pytest.raises(ConnectionError, match="stay on this machine"):
        socket.create_connection(("example.com", 80))
    assert no_network == ["192.0.2.1", "example.com"]
    no_network.clear()


def test_an_event_loop_is_refused_too(no_network):
    with pytest.raises(ConnectionError, match="stay on this machine"):
        asyncio.run(asyncio.open_connection("192.0.2.1", 80))
    assert no_network == ["192.0.2.1"]
    no_network.clear()


def test_the_loopback_interface_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
