"""Choice of the proxy for a service, by the environment variables that every HTTP client honours.

The choice is made here rather than by the HTTP library, since that builds every proxy which the environment names, for
addresses on this machine too, and stops with an import error where one of them is a SOCKS proxy.
"""

import importlib.util
import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from workflow_r1.errors import ConfigError
from workflow_r1.services.secrets import without_login


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names."""

    variable: str
    """Environment variable that names it."""
    url: str
    """Its address, with a login where it has one."""


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy for an address, from ``HTTPS_PROXY`` or ``HTTP_PROXY``, then ``ALL_PROXY``; None where it needs none.

    An address on this machine never goes through a proxy. ``NO_PROXY`` exempts others: names with their subdomains,
    addresses, networks (``10.0.0.0/8``), or ``*`` for all.

    Raises:
        ConfigError: the proxy cannot be used; names the variable.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    proxies = getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if scheme is None or is_loopback(host) or _is_exempt(host, proxies.get("no", "")):
        return None
    variable = next((name for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper()) if os.environ.get(name)), None)
    address = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    proxy = Proxy(variable or "the system's settings", address)
    kind = urlsplit(address).scheme.lower()
    shown = without_login(address)
    remedy = f"set another one, or exempt the host by NO_PROXY={host}"
    if kind not in ("http", "https", "socks5", "socks5h"):
        raise ConfigError(f"{proxy.variable}: expected an http, https or socks5 proxy, received {shown}; {remedy}")
    if kind.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            f"{proxy.variable}: {shown} is a SOCKS proxy, which needs the package socksio; run: pip install socksio. "
            f"Or {remedy}"
        )
    return proxy


def is_loopback(host: str) -> bool:
    """Return True where a host is this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _is_exempt(host: str, no_proxy: str) -> bool:
    if proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        try:
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
