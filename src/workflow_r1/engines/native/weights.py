"""The trainer's own weights as those that sample, in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.rollout import Policy


class FreshSamplers:
    """A sampler for each use. Its cache is freed with its last session, before the update needs the memory.

    Args:
        make: makes a sampler at a temperature.
    """

    def __init__(self, make: Callable[[float], LocalSampler]) -> None:
        self._make = make

    def sampler(self, temperature: float) -> Policy:
        """Return a new sampler."""
        return self._make(temperature)

    def publish(self, version: int, *, exactly: bool = False) -> None:
        """Do nothing: a new sampler takes the weights as they are."""

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Hold nothing: no sampler is in use outside of rollouts."""
        return held_by_nobody()


class StandingSampler:
    """One sampler for the whole run, whose sessions stay open while the policy learns between their turns.

    Args:
        make: makes a sampler at a temperature.
        temperature: the temperature of rollouts.
    """

    def __init__(self, make: Callable[[float], LocalSampler], temperature: float) -> None:
        self._sampler = make(temperature)

    def sampler(self, temperature: float) -> Policy:
        """Return the sampler at a temperature; its sessions share the batch with all others."""
        return self._sampler.at_temperature(temperature)

    def publish(self, version: int, *, exactly: bool = False) -> None:
        """Record from now on that turns are of this version."""
        self._sampler.policy_version = version

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Let turns under way end, and begin none inside the context."""
        return self._sampler.holding()


@asynccontextmanager
async def held_by_nobody() -> AsyncIterator[None]:
    """Hold nothing: other weights sample than those that are trained, or none do."""
    yield
