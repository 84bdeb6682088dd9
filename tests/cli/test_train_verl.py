"""``workflow-r1 train --engine verl`` where verl is not installed: the other cases are in ``tests/engines/verl``."""

import importlib.util

import pytest

from workflow_r1.installation import install_command

pytest.importorskip("torch")
pytest.importorskip("transformers")

absent = pytest.mark.skipif(importlib.util.find_spec("verl") is not None, reason="verl is installed here")


@absent
@pytest.mark.parametrize("more", [[], ["--dry-run"], ["-o", "engine=verl"]])
def test_a_missing_verl_is_named_with_its_remedy(call, tmp_path, more: list[str]) -> None:
    done = call("train", "--engine", "verl", *more)
    assert done.returncode == 2
    assert install_command("verl") in done.stderr
    assert not (tmp_path / "runs").exists()


def test_an_unknown_engine_is_refused(call) -> None:
    done = call("train", "--engine", "horse")
    assert done.returncode == 2
    assert "verl" in done.stderr
