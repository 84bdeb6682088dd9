"""Sections that are always read together, as one record each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflow_r1.accounting import BudgetConfig, PricesConfig
from workflow_r1.config.llm import LLMConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.embedded.config import EmbeddedConfig
from workflow_r1.store.config import StoreConfig


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Settings by which the operators of a pool are found and built."""

    names: tuple[str, ...]
    """Names of the pool's operators: ``environment.operators``."""
    plugins: tuple[str, ...]
    """Files and modules with operators of the user's own."""
    settings: Mapping[str, Mapping[str, Any]]
    """Settings of an operator by its name."""


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """Settings by which a task is found and built."""

    name: str
    """Name of the task, or reference to its class: ``task``."""
    settings: Mapping[str, Mapping[str, Any]]
    """Settings of tasks by their names."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Settings of the services that the operators may use, with their prices and their budget."""

    llm: LLMConfig
    search: SearchConfig
    store: StoreConfig
    prices: PricesConfig
    budget: BudgetConfig
    world: EmbeddedConfig
    """The embedded world: its expert may be the LLM, and its index the search."""
