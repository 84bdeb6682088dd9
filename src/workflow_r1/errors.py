"""Every error that the project raises on purpose.

    WorkflowR1Error
    |- UserError                 the caller's mistake: the command line prints it and exits with 2
    |  |- ConfigError            a configuration key or value            (also a ValueError)
    |  |- DataError              a question, corpus or trajectory file   (also a ValueError)
    |  |- CheckpointError        a checkpoint that cannot be continued   (also a ValueError)
    |  |- TaskError              the code of a task of the user's own     (also a RuntimeError)
    |  |- RewardError            a reward function of the user's own       (also a RuntimeError)
    |  |- UntrustedError         a run directory of somebody else's that would run code or ask services (also a PermissionError)
    |  |- MissingExtraError      an optional dependency is not installed (also an ImportError)
    |  `- StoreError             a store of calls that cannot be used as asked
    |     `- ReplayMissError     a call that a replay needs and the store lacks (also a LookupError)
    |- ServiceError              infrastructure: ends a trajectory, never scored as the policy's mistake
    |  |- ServiceUnavailableError  unreachable, throttled, broken reply, after all retries (also a ConnectionError)
    |  |- ServiceTimeoutError      no answer in time, after all retries                    (also a TimeoutError)
    |  |- TaskFailedError          a service that a task needs failed, or the task did not reply in time
    |  `- ServiceRejectedError     the service refuses, and would again: the request is not understood
    |     |- ContentRejectedError     it refuses the request's content: its writer caused it
    |     |  |- TooLongError             longer than the model or the server takes
    |     |  `- FilteredError            a content filter stopped it
    |     `- EndpointRejectedError    it refuses every request: bad key, unknown model, no quota
    |- ProcessLostError          another process of the same run died or stopped answering: the run ends, and can be resumed
    `- BudgetExceededError       the run's budget is used up: it stops cleanly and can continue with more

A policy's mistake (a malformed turn, a wrong argument) is not an error: it is an observation.
A programming error is a plain ``ValueError`` or ``TypeError`` and is left to crash.
Messages say what was expected, what was received, and the remedy.
"""

from functools import partial
from pathlib import Path


class WorkflowR1Error(Exception):
    """Root of the tree."""


class UserError(WorkflowR1Error):
    """The caller's mistake; the command line prints the message alone and exits with 2."""


class ConfigError(UserError, ValueError):
    """A configuration key or value that cannot be used."""


class DataError(UserError, ValueError):
    """A file of questions, passages or trajectories that cannot be read as such."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that is missing, damaged, or belongs to another configuration."""


class TaskError(UserError, RuntimeError):
    """A task of the user's own raised an error, or gave something other than the seam asks for; names file and line."""


class RewardError(UserError, RuntimeError):
    """A reward function of the user's own raised an error, or returned no finite number; names file and line."""


class UntrustedError(UserError, PermissionError):
    """A run directory that its user neither made nor trusted would run code, start programs, ask services or send keys."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is needed and absent; the message names the extra to install."""


class StoreError(UserError):
    """A store of calls that is missing, damaged, not writable, or another program's."""


class ReplayMissError(StoreError, LookupError):
    """A replayed run makes a call that was never recorded: it stops, since no service failed and none may be asked."""


class ServiceError(WorkflowR1Error):
    """An LLM or search service failed after its retries. Ends the trajectory; counted, never scored."""


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service could not be reached, throttled every attempt, or sent replies that cannot be read."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """The service did not answer in time on any attempt."""


class TaskFailedError(ServiceError):
    """A service that a task needs failed, or the task did not reply in time; the message names the task."""


class ServiceRejectedError(ServiceError):
    """The service refuses the request (length, form): neither a retry nor another endpoint can help."""


class ContentRejectedError(ServiceRejectedError):
    """The service refuses the content of the request: not its own state but the writer of the content is the cause.

    Where the policy wrote the content (its own context, an operator's argument), the refusal is the policy's outcome.
    """


class TooLongError(ContentRejectedError):
    """The request is longer than the model or the server takes."""


class FilteredError(ContentRejectedError):
    """A content filter or a moderation of the service stopped the request."""


class EndpointRejectedError(ServiceRejectedError):
    """The endpoint refuses every request (key, model name, quota): a retry cannot help, another endpoint may."""


class ProcessLostError(WorkflowR1Error):
    """Another process of the run is gone; this one cannot continue alone, and ends with exit code 1."""


class BudgetExceededError(WorkflowR1Error):
    """A limit of the budget is reached. Stops the whole run, which can continue with a higher one; exit code 3.

    Args:
        message: amount used, limit, and the way to continue.
        key: the configuration key of the limit.
        limit: value of the limit.
    """

    def __init__(self, message: str, *, key: str, limit: float) -> None:
        super().__init__(message)
        self.key = key
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is pickled with its message alone, which does not make another one of this.
        return partial(BudgetExceededError, str(self), key=self.key, limit=self.limit), ()


def found_at(path: Path) -> str:
    """Say for a message what was found in place of a file or directory: ``nothing at X``, ``a folder at X``, ``a file at X``."""
    return f"{'a folder' if path.is_dir() else 'a file' if path.exists() else 'nothing'} at {path}"
