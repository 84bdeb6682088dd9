import importlib.metadata

import pytest

from workflow_r1.engines.trl import versions
from workflow_r1.errors import MissingExtraError


@pytest.mark.parametrize("found", ["1.7.1", "1.15.0", "1.17.0", "2.0.0"])
def test_another_minor_is_refused_with_the_tested_ones(monkeypatch, found):
    monkeypatch.setattr(versions, "version", lambda name: found)
    with pytest.raises(MissingExtraError, match=r"tested minor of TRL \(1\.8, .*1\.14, 1\.16\), found " + found):
        versions.require_tested_trl()


def test_a_patch_of_a_tested_minor_will_do(monkeypatch):
    monkeypatch.setattr(versions, "version", lambda name: "1.16.7")
    assert versions.require_tested_trl() == "1.16.7"


def test_no_trl_is_a_missing_extra(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", absent)
    with pytest.raises(MissingExtraError, match=r"\[trl\]"):
        versions.require_tested_trl()
