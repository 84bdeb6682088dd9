"""Rules of every test: one thread, no network, and checked shapes.

The file is read before any test module, so before anything imports torch or ``workflow_r1.algorithms``.
"""

import importlib.util
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

# A shell without job control starts its background jobs with Ctrl-C ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two busy threads on two shared cores can be a hundred times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"

_has_torch = importlib.util.find_spec("torch") is not None
if _has_torch:
    import torch

    torch.set_num_threads(1)

if _has_torch and all(importlib.util.find_spec(name) for name in ("jaxtyping", "beartype")):
    from beartype import BeartypeConf, beartype
    from jaxtyping import install_import_hook

    # The hook wants its checker by name. This one takes an int for a float, as every static checker does.
    checker = ModuleType("workflow_r1_shape_checker")
    checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
    sys.modules[checker.__name__] = checker
    install_import_hook("workflow_r1.algorithms", f"{checker.__name__}.check")

_blocked: list[str] = []
_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


class NetworkBlockedError(ConnectionError):
    """A test tried to leave this machine."""


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host is None or host in ("", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_unless_local(host: object) -> None:
    if not _is_local(host):
        _blocked.append(str(host))
        raise NetworkBlockedError(f"expected tests to stay on this machine, received a connection to {host!r}")


def _guarded_connect(self: socket.socket, address: object) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_unless_local(address[0])
    _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: object) -> int:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_unless_local(address[0])
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host: object, *arguments: object, **options: object) -> list:
    _refuse_unless_local(host)
    return _getaddrinfo(host, *arguments, **options)


_has_tokenizers = importlib.util.find_spec("tokenizers") is not None
pytest_plugins = ("command_line", *(("small_policies",) if _has_torch and _has_tokenizers else ()))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse connections beyond the loopback interface, and fail a test whose code swallowed the refusal.

    Yields:
        The hosts refused so far; a test of the guard itself empties it.
    """
    monkeypatch.setattr(socket.socket, "connect", _guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", _guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", _guarded_getaddrinfo)
    _blocked.clear()
    yield _blocked
    if _blocked:
        pytest.fail(f"the test tried to connect to {', '.join(_blocked)}; use a double or a server on 127.0.0.1")


@pytest.fixture(scope="session", autouse=True)
def _state_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runs of tests leave no record of trust in the home of whoever runs them."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
