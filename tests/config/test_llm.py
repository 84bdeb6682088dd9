"""Endpoints and roles, from TOML to the operators' services."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from workflow_r1.assembly.services import build_services
from workflow_r1.config import RunConfig, dump_toml, load_run_config
from workflow_r1.config.llm import LLMConfig, endpoint_chat_config
from workflow_r1.errors import ConfigError
from workflow_r1.inference import OpenAIChatModel, RoutedChatModel
from workflow_r1.operators import OperatorServices

TOML = """
[llm]
kind = "openai"
model = "small"
base_url = "http://127.0.0.1:8000/v1"
timeout_seconds = 30.0

[llm.endpoints.twin]
base_url = "http://127.0.0.1:8001/v1"
weight = 2.0

[llm.endpoints.strong]
model = "large"
api_key_env = "STRONG_KEY"
extra_body = {chat_template_kwargs = {thinking = false}, "odd key" = [{a = 1}]}

[llm.roles]
default = ["llm", "twin"]
Review = ["strong"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    return path


def services_of(config: RunConfig, names: Sequence[str] | None = None) -> OperatorServices:
    return build_services(config.services, config.pool, names=names)


def innermost(chat: Any) -> Any:
    """Return the model under meter and budget."""
    while hasattr(chat, "inner"):
        chat = chat.inner
    return chat


def test_what_an_endpoint_leaves_out_is_the_sections(file: Path) -> None:
    llm = load_run_config(file, ["llm.endpoints.strong.concurrency=4"]).llm
    twin, strong = endpoint_chat_config(llm, "twin"), endpoint_chat_config(llm, "strong")
    assert (twin.model, twin.base_url, twin.timeout_seconds) == ("small", "http://127.0.0.1:8001/v1", 30.0)
    assert (strong.model, strong.base_url, strong.api_key_env) == ("large", "http://127.0.0.1:8000/v1", "STRONG_KEY")
    assert (twin.concurrency, strong.concurrency) == (32, 4)
    assert strong.extra_body["chat_template_kwargs"] == {"thinking": False}


def test_operators_get_the_endpoints_of_their_role(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    services = services_of(load_run_config(file), ("AnswerGenerate", "Review"))
    assert isinstance(services.chat, RoutedChatModel)
    assert {endpoint.name: endpoint.weight for endpoint in services.chat.endpoints} == {"llm": 1.0, "twin": 2.0}
    own = services.for_operator("Review").chat
    assert innermost(own).config.model == "large"
    assert services.for_operator("AnswerGenerate").chat is services.chat


def test_an_endpoint_that_no_operator_of_the_pool_needs_is_left_out(file: Path) -> None:
    config = load_run_config(file, ["llm.model=", "llm.roles.default=['strong']"])
    assert isinstance(innermost(services_of(config, ("AnswerGenerate",)).chat), OpenAIChatModel)
    services = services_of(load_run_config(file), ("Review",))
    assert services.chat is None
    assert list(services.chats) == ["Review"]


def test_endpoints_shared_by_roles_share_their_connections_and_health(file: Path) -> None:
    config = load_run_config(file, ["llm.roles.Review=['strong', 'twin']"])
    services = services_of(config, ("AnswerGenerate", "Review"))
    own = services.chats["Review"]
    assert isinstance(services.chat, RoutedChatModel)
    assert isinstance(own, RoutedChatModel)
    assert services.chat.endpoints[1] is own.endpoints[1]


def test_it_is_written_back_as_it_was_read(file: Path, tmp_path: Path) -> None:
    config = load_run_config(file)
    copy = tmp_path / "copy.toml"
    copy.write_text(dump_toml(config))
    assert load_run_config(copy) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("llm.roles.Review=['stronk']", "one or more different endpoints among llm, twin, strong for llm.roles.Review"),
        ("llm.roles.Review=[]", "one or more different endpoints"),
        ("llm.roles=", "llm.roles to say what llm.endpoints are for, e.g. default = ['twin']"),
        ("llm.roles.Review=strong", "llm.roles: expected a list of strings for each name"),
        ("llm.roles.Review=['strong', 'strong']", "different endpoints"),
        ("llm.kind=embedded", 'llm.kind = "openai"'),
        ("llm.endpoints.strong.modle=x", "did you mean 'llm.endpoints.strong.model'?"),
        ("llm.endpoints.strong.weight=-1", "llm.endpoints.strong.weight: expected a value greater than or equal to 0"),
        ("llm.endpoints.llm={}", "other than 'llm'"),
    ],
)
def test_mistakes_are_named(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(file, [override])
    assert message in str(caught.value)


def test_a_role_of_no_operator(file: Path) -> None:
    config = load_run_config(file, ["llm.roles.Reveiw=['llm']"])
    with pytest.raises(ConfigError, match="received 'Reveiw'; did you mean 'Review'"):
        services_of(config, ("AnswerGenerate",))


def test_a_model_without_a_name(file: Path) -> None:
    config = load_run_config(file, ["llm.model="])
    with pytest.raises(ConfigError, match=r"llm\.endpoints\.twin\.model: expected"):
        endpoint_chat_config(config.llm, "twin")


def test_an_empty_override_takes_an_entry_out(file: Path) -> None:
    assert load_run_config(file, ["llm.endpoints.strong=", "llm.roles.Review="]).llm.endpoints.keys() == {"twin"}


def test_the_example_holds() -> None:
    config = load_run_config(Path(__file__).parents[2] / "examples" / "endpoints.toml")
    services = services_of(config)
    assert isinstance(services.chat, RoutedChatModel)
    assert set(services.chats) == {"Review", "Revise"}


def test_a_null_that_a_run_directory_could_not_keep_is_refused(file: Path) -> None:
    for section in ({"extra_body": {"stop": None}}, {"endpoints": {"a": {"extra_body": {"stop": None}}}}):
        with pytest.raises(ValidationError, match=r"to send no stop, set leave_out = \['stop'\]"):
            LLMConfig.model_validate({"kind": "openai", "model": "m"} | section)
    llm = load_run_config(file, ["llm.leave_out=['stop']", "llm.endpoints.strong.leave_out=['temperature']"]).llm
    assert endpoint_chat_config(llm, "twin").leave_out == ("stop",)
    assert endpoint_chat_config(llm, "strong").leave_out == ("temperature",)
