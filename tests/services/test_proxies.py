"""Choice of the proxy for an address."""

import importlib.util

import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.services.proxies import find_proxy, is_loopback


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "url", "found"),
    [
        ("HTTP_PROXY", "http://proxy:3128", "http://host/v1", "http://proxy:3128"),
        ("http_proxy", "proxy:3128", "http://host/v1", "http://proxy:3128"),
        ("HTTPS_PROXY", "http://proxy:3128", "https://host/v1", "http://proxy:3128"),
        ("ALL_PROXY", "http://proxy:3128", "https://host/v1", "http://proxy:3128"),
        ("HTTP_PROXY", "http://proxy:3128", "https://host/v1", None),
        ("HTTP_PROXY", "", "http://host/v1", None),
        # This machine never, whatever the scheme.
        ("ALL_PROXY", "socks5://proxy:1080", "http://127.0.0.1:8000/v1", None),
        ("ALL_PROXY", "socks5://proxy:1080", "http://127.8.0.1:8000/v1", None),
        ("ALL_PROXY", "ftp://proxy", "http://[::1]:8000/v1", None),
        ("HTTP_PROXY", "http://proxy:3128", "http://localhost:8000/v1", None),
        ("HTTP_PROXY", "http://proxy:3128", "http://0.0.0.0:8000/v1", None),
    ],
)
def test_the_proxy_of_an_address(
    variable: str, value: str, url: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    proxy = find_proxy(url)
    assert (proxy and proxy.url) == found
    assert proxy is None or proxy.variable == variable


@pytest.mark.parametrize(
    ("exempt", "url", "is_exempt"),
    [
        ("*", "http://host", True),
        ("example.com", "http://example.com", True),
        ("example.com", "http://llm.example.com:8000", True),
        (".example.com", "http://llm.example.com", True),
        ("example.com", "http://badexample.com", False),
        ("a, 10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.1.2.3", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("fd00::/8", "http://[fd00::5]:8000", True),
        ("not an entry/33", "http://10.1.2.3", False),
    ],
)
def test_what_no_proxy_exempts(exempt: str, url: str, is_exempt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert (find_proxy(url) is None) == is_exempt


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:hunter2@proxy:1080")
    with pytest.raises(
        ConfigError, match=r"^ALL_PROXY: socks5h://proxy:1080 .*pip install socksio.*NO_PROXY=host$"
    ) as told:
        find_proxy("http://host/v1")
    assert "hunter2" not in str(told.value)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find_proxy("http://host/v1") is not None
    monkeypatch.setenv("https_proxy", "socks4://proxy:1080")
    with pytest.raises(ConfigError, match=r"^https_proxy: expected an http, https or socks5 proxy"):
        find_proxy("https://host/v1")


def test_this_machine() -> None:
    assert all(
        is_loopback(host)
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "a.localhost", "::1", "::ffff:127.0.0.1", "0.0.0.0")
    )
    assert not any(is_loopback(host) for host in ("10.0.0.1", "localhost.example.com", "example.com", ""))
