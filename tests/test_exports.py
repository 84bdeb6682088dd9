"""The names that each public package exports: a change of them is a decision, written into ``exported_names.txt``."""

import importlib
import importlib.util
from pathlib import Path

import pytest

PINNED = {
    package: names.split()
    for line in Path(__file__).with_name("exported_names.txt").read_text("utf-8").splitlines()
    for package, _, names in [line.partition(":")]
}


def exporting_packages() -> list[str]:
    """Packages with an ``__all__``, the root among them."""
    root = Path(importlib.import_module("workflow_r1").__file__ or "").parent
    files = [path for path in root.rglob("__init__.py") if "\n__all__ = " in path.read_text("utf-8")]
    return sorted(".".join(("workflow_r1", *path.parent.relative_to(root).parts)) for path in files)


def test_every_package_that_exports_is_pinned() -> None:
    assert exporting_packages() == list(PINNED)


@pytest.mark.parametrize("package", PINNED)
def test_exported_names(package: str) -> None:
    if package == "workflow_r1.algorithms":
        pytest.importorskip("torch")
    exported = importlib.import_module(package)
    assert sorted(exported.__all__) == PINNED[package]
    assert all(hasattr(exported, name) for name in exported.__all__)
