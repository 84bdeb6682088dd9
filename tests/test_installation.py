"""The remedy for a missing package, for every way in which ours can have been installed."""

import json
import shlex
from pathlib import Path

import pytest

from workflow_r1.installation import install_command, requirements_of

METADATA = """Metadata-Version: 2.4
Name: workflow-r1
Version: 9.9
Provides-Extra: serve
Provides-Extra: all
Requires-Dist: pydantic>=2.10
Requires-Dist: starlette>=0.46; extra == 'serve'
Requires-Dist: uvicorn>=0.34; extra == "serve"
Requires-Dist: workflow-r1[serve]; extra == 'all'
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put an installation of the package with this origin before the real one; gives the arguments after ``install``."""
    site = tmp_path / "site"
    information = site / "workflow_r1-9.9.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)

    def arguments(origin: dict | None, extra: str = "serve") -> list[str]:
        if origin is not None:
            (information / "direct_url.json").write_text(json.dumps(origin))
        words = shlex.split(install_command(extra))
        return words[words.index("install") + 1 :]

    return arguments


def test_a_checkout_names_itself(install, tmp_path: Path) -> None:
    elsewhere = {"url": "file:///home/me/my%20code", "dir_info": {"editable": True}}
    assert install(elsewhere) == ["-e", "/home/me/my code[serve]"]
    assert install(elsewhere, "") == ["-e", "/home/me/my code"]
    assert install({"url": "file:///home/me/code", "dir_info": {}}) == ["/home/me/code[serve]"]
    here = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    assert install(here) == ["-e", ".[serve]"]


def test_a_wheel_names_the_place_that_it_came_from_while_it_is_there(install, tmp_path: Path) -> None:
    wheel = tmp_path / "workflow_r1-9.9-py3-none-any.whl"
    origin = {"url": wheel.as_uri(), "archive_info": {}}
    assert install(origin) == ["starlette>=0.46", "uvicorn>=0.34"]
    wheel.touch()
    assert install(origin) == [f"workflow-r1[serve] @ {wheel.as_uri()}"]
    online = {"url": "https://example.org/w.whl", "archive_info": {}}
    assert install(online) == ["workflow-r1[serve] @ https://example.org/w.whl"]
    cloned = {"url": "https://example.org/w.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert install(cloned) == ["workflow-r1[serve] @ git+https://example.org/w.git@abc"]


def test_where_the_origin_is_not_known_the_packages_are_named(install) -> None:
    assert install(None) == ["starlette>=0.46", "uvicorn>=0.34"]
    assert install(None, "all") == ["starlette>=0.46", "uvicorn>=0.34"]
    assert install(None, "") == ["pydantic>=2.10"]
    assert requirements_of("nothing") == []


def test_the_pip_is_the_one_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert install_command("serve").startswith(".venv/bin/python -m pip install ")


def test_no_message_names_a_package_index_that_has_no_such_package() -> None:
    source = Path(__file__).parents[1] / "src"
    naming = [
        path
        for path in source.rglob("*.py")
        if "install 'workflow-r1" in (text := path.read_text())
        or 'install "workflow-r1' in text
        or "workflow-r1[" in text
    ]
    assert naming == []
