"""Room for connections among a process's open files."""

import resource

import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.services import open_files
from workflow_r1.services.open_files import reserve_open_files


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Soft and hard limit of a process that has 300 and may have 1,000."""
    now = [300, 1000]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: now.__setitem__(slice(None), list(pair)))
    monkeypatch.setattr(open_files, "_reserved", 0)
    return now


def test_the_soft_limit_is_raised_as_far_as_all_services_need(limits: list[int]) -> None:
    with reserve_open_files(40, place="a"):
        assert limits == [300, 1000]  # 40 and 256 to spare
        with reserve_open_files(10, place="b"):
            assert limits == [306, 1000]
        with reserve_open_files(600, place="c"):
            assert limits == [896, 1000]
    with reserve_open_files(700, place="d"):
        assert limits == [956, 1000]


def test_more_than_the_hard_limit_is_refused_with_the_remedy(limits: list[int]) -> None:
    message = r"^m at http://h: expected room for 800 connections, which takes 1056 .* have 1000; lower its concurrency"
    with pytest.raises(ConfigError, match=message), reserve_open_files(800, place="m at http://h"):
        pass
    with reserve_open_files(700, place="what was refused reserves nothing"):
        pass


def test_no_limit_is_no_limit(limits: list[int]) -> None:
    limits[0] = resource.RLIM_INFINITY
    with reserve_open_files(10**6, place="a"):
        assert limits[0] == resource.RLIM_INFINITY
