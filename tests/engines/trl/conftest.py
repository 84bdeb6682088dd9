"""TRL lives in a virtual environment of its own: `make test-trl`. Elsewhere these tests are left out."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

collect_ignore_glob = (
    []
    if importlib.util.find_spec("trl")
    else ["test_trainer.py", "test_golden_batch.py", "test_run.py", "test_example.py"]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engines/trl" in item.nodeid:
            # TRL and accelerate ask transformers and torch by names that these have renamed.
            item.add_marker(
                pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
            )


@pytest.fixture(scope="session")
def tiny_trl() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_trl", Path(__file__).with_name("tiny_trl.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_trainer(tiny_trl: ModuleType):
    return tiny_trl.make_trainer
