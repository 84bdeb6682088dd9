"""The store of calls: one file with the answers of services. A call is paid for once, and a run can be replayed."""

from workflow_r1.store.calls import Call, CallStore, open_store
from workflow_r1.store.config import StoreConfig, StoreMode
from workflow_r1.store.connection import StoredCall
from workflow_r1.store.database import CallDatabase

__all__ = ["Call", "CallDatabase", "CallStore", "StoreConfig", "StoreMode", "StoredCall", "open_store"]
