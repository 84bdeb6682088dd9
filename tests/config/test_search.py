from pathlib import Path

import pytest

from workflow_r1.assembly.search import build_search
from workflow_r1.config import dump_toml, load_run_config
from workflow_r1.errors import ConfigError
from workflow_r1.retrieval import CallableSearch, RetrievalServerSearch, WebSearch

EXAMPLE = Path(__file__).parents[2] / "examples" / "search.toml"

KINDS = {
    "bm25": ["search.index=indexes/mine"],
    "server": ["search.server.url=http://127.0.0.1:1", "search.server.concurrency=2"],
    "web": ['search.web.parameters={gl = "us"}'],
    "callable": ["search.callable.function=json:dumps"],
    "mcp": ['search.mcp.command=["python", "server.py"]', "search.mcp.tool=search", "search.mcp.arguments={num = 3}"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_survives_being_written_and_read(kind: str, tmp_path: Path) -> None:
    config = load_run_config(None, [f"search.kind={kind}", *KINDS[kind]])
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config))
    assert load_run_config(path) == config


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_another_kind_is_refused_with_the_remedy(kind: str) -> None:
    other = "server" if kind != "server" else "web"
    with pytest.raises(ConfigError) as raised:
        load_run_config(None, [f"search.kind={other}", *KINDS[kind]])
    key = "index" if kind == "bm25" else kind
    assert f'no search.{key} with search.kind = "{other}": set search.kind = "{kind}" to use it' in str(raised.value)
    assert f"-o search.{key}=" in str(raised.value)


def test_a_search_that_is_switched_off_keeps_its_keys() -> None:
    assert load_run_config("paper", ["search.kind=none"]).search.index is not None


def test_an_override_takes_a_section_out() -> None:
    overrides = ["search.kind=server", "search.web.url=http://x", "search.web="]
    assert load_run_config(None, overrides).search.web is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.kind=servr"], "did you mean 'server'?"),
        (["search.kind=server", "search.server.ulr=http://x"], "did you mean 'search.server.url'?"),
        (["search.kind=server", "search.server.concurrency=0"], "greater than or equal to 1"),
        (["search.kind=mcp", 'search.mcp.command=["x"]'], "search.mcp.tool: expected a string"),
        (
            ["search.kind=web", "search.web.parameters=3"],
            "search.web.parameters: expected values for each name, received 3",
        ),
    ],
)
def test_mistakes_are_explained(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_run_config(None, overrides)
    assert message in str(raised.value)


def test_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", "k")

    def build(*overrides: str) -> object:
        return build_search(load_run_config(None, list(overrides)).search, 0)

    assert isinstance(build("search.kind=server"), RetrievalServerSearch)
    assert isinstance(build("search.kind=web"), WebSearch)
    assert isinstance(build("search.kind=callable", f"search.callable.function={__file__}:find"), CallableSearch)
    for kind, needed in (("callable", "function"), ("mcp", "tool and search.mcp.command or search.mcp.url")):
        with pytest.raises(ConfigError, match=f"search.{kind}: expected this section.*set search.{kind}.{needed}"):
            build(f"search.kind={kind}")
    with pytest.raises(ConfigError, match="configure a search, or take Search out of the pool"):
        build("search.kind=none")


def test_a_function_in_a_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[search]\nkind = "callable"\n[search.callable]\nfunction = "mine.py:find"\n')
    config = load_run_config(path)
    assert config.search.callable is not None
    assert config.search.callable.function == f"{tmp_path.resolve()}/mine.py:find"
    module = load_run_config(path, ["search.callable.function=package.mine:find"]).search.callable
    assert module is not None
    assert module.function == "package.mine:find"


def test_the_example_shows_kinds_that_load(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert load_run_config(EXAMPLE).search.kind == "server"
    alternatives = text.split("\n\n# kind = ")[1:]
    assert len(alternatives) == 4
    for alternative in alternatives:
        lines = ("# kind = " + alternative).splitlines()
        path = tmp_path / "config.toml"
        path.write_text("[search]\n" + "\n".join(line.removeprefix("# ") for line in lines))
        assert load_run_config(path).search.kind in alternative


def find(query: str, k: int) -> list[str]:
    return [query]
