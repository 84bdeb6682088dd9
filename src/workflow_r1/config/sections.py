"""Sections that are always read together, as one record each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflow_r1.accounting import BudgetConfig, PricesConfig
from workflow_r1.config.llm import LLMConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.store.config import StoreConfig


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What the operators of a pool are found by and built from."""

    names: tuple[str, ...]
    """Names of the pool's operators: ``environment.operators``."""
    plugins: tuple[str, ...]
    """Files and modules with operators of the user's own."""
    settings: Mapping[str, Mapping[str, Any]]
    """Settings of an operator by its name."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Which services the operators may use, what they cost and how much of them may be used."""

    llm: LLMConfig
    search: SearchConfig
    store: StoreConfig
    prices: PricesConfig
    budget: BudgetConfig
    world_seed: int
    """The embedded world's own seed: its expert may be the LLM, and its index the search."""
