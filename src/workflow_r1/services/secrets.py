"""Keeps keys and logins out of messages, records and logs."""

import base64
import logging
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK = "***"
"""Stands where a secret stood."""

_LOGGERS = (
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpcore2.socks",
)
"""Loggers of the libraries below us: at INFO httpx2 tells addresses, at DEBUG httpcore2 tells headers."""

_LOGIN = re.compile(r"(?<=://)[^/?#\s\"']*@")
_ADDRESS = re.compile(r"https?://[^\s\"']*+")
_KEY = re.compile(r"(?<=[?&])((?:api[-_]?)?key|(?:access[-_]?)?token|secret|password)=[^&#\s\"']*+", re.IGNORECASE)

_KEY_NAME = re.compile("key|token|secret|pass|pwd|auth|sig|code|credential", re.IGNORECASE)
"""Parts of the names under which a query holds a key."""


def without_login(url: str) -> str:
    """Leave out ``user:password@``, query and fragment, which may hold keys."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def secrets_of_url(url: str, *, only_keys: bool = False) -> set[str]:
    """Return the parts of an address that may be secret: the password and the values of the query, in every form they
    are sent in.

    Args:
        url: the address.
        only_keys: leave out values of the query whose names are not those of keys, such as ``api-version=preview``.
    """
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    query = parse_qsl(parts.query)
    found = {password or user, *(value for name, value in query if not only_keys or _KEY_NAME.search(name))}
    if login:
        pair = f"{unquote(user)}:{unquote(password)}"
        found |= {login, pair, base64.b64encode(pair.encode()).decode()}
    found |= {unquote(secret) for secret in found} | {quote(secret, safe="") for secret in found}
    return found - {""}


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text."""
    for secret in sorted(secrets, key=len, reverse=True):  # A secret may hold another one.
        text = text.replace(secret, MASK)
    return text


def mask_addresses(text: str, *, whole_query: bool = False) -> str:
    """Leave out ``user:password@`` of every address in a text, and mask the values of keys in its query.

    ``http://me:pw@host/v1?api_key=abc&k=5`` becomes ``http://host/v1?api_key=***&k=5``. Takes time linear in ``text``.

    Args:
        text: any text.
        whole_query: mask all of a query (``http://host/v1?***``), where its contents are unknown.
    """
    text = _LOGIN.sub("", text)
    if not whole_query:
        return _KEY.sub(rf"\1={MASK}", text)
    return _ADDRESS.sub(lambda found: re.sub(r"\?.*", f"?{MASK}", found[0], count=1, flags=re.DOTALL), text)


class _SecretFilter(logging.Filter):
    """Masks secrets in log records. There is one, shared by all chat models of the process."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        masked = mask(message, self.secrets)
        if masked != message:
            record.msg, record.args = masked, ()
        return True


_filter = _SecretFilter()


def hide_in_logs(secrets: Iterable[str]) -> None:
    """Mask these secrets in all logs of the HTTP libraries from now on."""
    _filter.secrets.update(secrets)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)  # Adding it again changes nothing.
