"""The bill of service calls: prices, the ledger of a run, and the budget that ends it."""

from workflow_r1.accounting.accounts import Accounts
from workflow_r1.accounting.budget import Budget, BudgetConfig, Spent
from workflow_r1.accounting.ledger import POLICY, Account, Ledger, charged_to
from workflow_r1.accounting.metered import BudgetedChatModel, BudgetedSearch, MeteredChatModel, MeteredSearch
from workflow_r1.accounting.prices import FREE, ModelPrice, PricesConfig

__all__ = [
    "FREE",
    "POLICY",
    "Account",
    "Accounts",
    "Budget",
    "BudgetConfig",
    "BudgetedChatModel",
    "BudgetedSearch",
    "Ledger",
    "MeteredChatModel",
    "MeteredSearch",
    "ModelPrice",
    "PricesConfig",
    "Spent",
    "charged_to",
]
