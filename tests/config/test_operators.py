"""``plugins``, ``[operators.NAME]`` and the pool give the operators and the services that they need."""

from pathlib import Path

import pytest

from workflow_r1.assembly.operators import build_operators
from workflow_r1.assembly.services import build_services
from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.errors import ConfigError
from workflow_r1.running.parts import open_environments
from workflow_r1.trajectory import Question

PLUGIN = """\
from pydantic import BaseModel

from workflow_r1.operators import OperatorServices, operator


class Scale(BaseModel):
    factor: float


@operator(purpose="Scales a number.")
async def scale(number: float, *, settings: Scale) -> str:
    return str(number * settings.factor)


@operator(purpose="Counts.")
async def word_count(text: str) -> str:
    return str(len(text.split()))


@operator(purpose="Looks up.", needs=("search",))
async def look_up(text: str, *, services: OperatorServices) -> str:
    return (await services.require_search()(text, k=1))[0].title
"""


@pytest.fixture
def configure(tmp_path: Path):
    (tmp_path / "mine.py").write_text(PLUGIN)

    def load(pool: str, *overrides: str):
        return load_run_config(None, [f"plugins=['{tmp_path}/mine.py']", f"environment.operators={pool}", *overrides])

    return load


def test_the_pool_may_name_them_and_they_get_their_settings(configure) -> None:
    config = configure("['Scale']", "operators.Scale.factor=2")
    assert build_operators(config.pool)["Scale"].settings.factor == 2.0
    environment = open_environments(config)(Question(id="q", text="x", golden_answers=()))
    assert environment.config.operators == ("Scale",)
    full = configure("['Scale']", "operators.Scale.factor=2", "environment.prompt_style=full")
    prompt = open_environments(full)(Question(id="q", text="x", golden_answers=())).initial_messages()
    assert "- Scale: Scales a number.\n  <tool>Scale: the number, a number</tool>" in prompt[0].content


@pytest.mark.parametrize(
    ("pool", "chat", "search"),
    [
        ("['WordCount']", False, False),
        ("['LookUp']", False, True),
        ("['Search']", False, True),
        ("['WordCount', 'Review']", True, False),
    ],
)
def test_only_the_services_that_the_pool_needs_are_built(configure, pool: str, chat: bool, search: bool) -> None:
    config = configure(pool)
    services = build_services(config.services, config.pool)
    assert (services.chat is not None, services.search is not None) == (chat, search)


@pytest.mark.parametrize(
    ("pool", "overrides", "message"),
    [
        ("['WordCuont']", [], "environment.operators: .*received 'WordCuont'; did you mean 'WordCount'"),
        ("['Zzz']", [], "plugins may add more"),
        ("['WordCount']", ["operators.Scael.factor=2"], "operators: .*received 'Scael'; did you mean 'Scale'"),
        ("['Scale']", [], "operators.Scale.factor: expected a value, received none"),
        ("['Scale']", ["operators.Scale.factor=much"], "operators.Scale.factor: Input should be a valid number"),
        ("['WordCount']", ["operators.WordCount.x=2"], "operators.WordCount: expected no such section"),
    ],
)
def test_what_does_not_fit_is_refused(configure, pool: str, overrides: list[str], message: str) -> None:
    config = configure(pool, *overrides)
    with pytest.raises(ConfigError, match=message):
        build_services(config.services, config.pool)
    with pytest.raises(ConfigError, match=message):
        open_environments(config)


@pytest.mark.parametrize(
    ("pool", "kind", "expected"),
    [
        (("AnswerGenerate", "Review"), "embedded", False),
        (("AnswerGenerate", "Search"), "embedded", True),
        (("AnswerGenerate", "LookUp"), "embedded", True),
        (("AnswerGenerate", "Search", "LookUp"), "none", False),
    ],
)
def test_a_run_is_a_simulation_where_an_operator_may_search_the_embedded_world(
    pool: tuple[str, ...], kind: str, expected: bool
) -> None:
    config = RunConfig.model_validate(
        {
            "plugins": ["absent.py"],
            "data": {"source": "files"},
            "llm": {"kind": "openai", "model": "m"},
            "search": {"kind": kind},
            "environment": {"operators": pool},
        }
    )
    assert config.is_simulation is expected


@pytest.mark.parametrize(
    ("pool", "changes", "expected"),
    [
        (("Search",), {"search": {"kind": "bm25", "index": "i"}}, False),
        (("Review",), {"search": {"kind": "bm25", "index": "i"}}, True),
        (("Search",), {}, True),
        (("Search",), {"search": {"kind": "bm25", "index": "i"}, "data": {"source": "embedded"}}, True),
    ],
)
def test_a_service_that_no_operator_needs_makes_no_simulation(
    pool: tuple[str, ...], changes: dict, expected: bool
) -> None:
    fields = {"name": "n", "data": {"source": "files"}, "environment": {"operators": pool}} | changes
    config = RunConfig.model_validate(fields)
    assert config.is_simulation is expected
    assert config.title == ("n: embedded world (a simulation)" if expected else "n")
