"""The ways in which an attempt at a service, an LLM or a search, fails; each is counted by itself."""

from enum import StrEnum


class FailureKind(StrEnum):
    """Reason why one attempt brought no reply. All but the last six may pass, and are tried again."""

    UNREACHABLE = "unreachable"
    """No connection: refused, no such host, not established in time."""
    RESET = "reset"
    """The connection broke before the reply was complete."""
    IDLE = "idle"
    """No byte came for ``idle_timeout_seconds``."""
    TIMEOUT = "timeout"
    """The reply was not complete within ``timeout_seconds``, though bytes may have come."""
    THROTTLED = "throttled"
    """Status 429."""
    SERVER_ERROR = "server_error"
    """Status 500 and above, or one that asks for another attempt (408, 409, 425)."""
    INVALID_REPLY = "invalid_reply"
    """A complete reply of another form: not JSON, cut short, no choices, no passages."""
    WRONG_MODEL = "wrong_model"
    """The reply is another model's."""
    BAD_KEY = "bad_key"
    """The key is unknown or has no right to use this (401, 403)."""
    UNKNOWN_MODEL = "unknown_model"
    """The endpoint has no such model or tool, or nothing of its kind stands at the address (404)."""
    NO_QUOTA = "no_quota"
    """The account has no quota left."""
    TOO_LONG = "too_long"
    """The request is longer than the model or the server takes."""
    CONTENT_FILTER = "content_filter"
    """A content filter or a moderation stopped the request."""
    REJECTED = "rejected"
    """Refused for any other reason."""

    @property
    def may_pass(self) -> bool:
        """True where another attempt may succeed."""
        return self not in _LASTING

    @property
    def is_request(self) -> bool:
        """True where the request itself is refused: another endpoint would do the same."""
        return self in (FailureKind.TOO_LONG, FailureKind.CONTENT_FILTER, FailureKind.REJECTED)

    @property
    def is_content(self) -> bool:
        """True where the service refuses the content of the request: its writer caused the failure."""
        return self in (FailureKind.TOO_LONG, FailureKind.CONTENT_FILTER)


_LASTING = frozenset(
    {
        FailureKind.BAD_KEY,
        FailureKind.UNKNOWN_MODEL,
        FailureKind.NO_QUOTA,
        FailureKind.TOO_LONG,
        FailureKind.CONTENT_FILTER,
        FailureKind.REJECTED,
    }
)
