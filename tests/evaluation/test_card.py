from pathlib import Path

import pytest

from workflow_r1.config.llm import EndpointConfig, LLMConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.embedded import EmbeddedConfig
from workflow_r1.errors import ConfigError, DataError
from workflow_r1.evaluation.card import (
    EvaluationCard,
    describe_llm,
    describe_scoring,
    describe_search,
    fingerprint_of_prompts,
)
from workflow_r1.retrieval import BM25Index, RetrievalServerConfig


def card(**changes: object) -> EvaluationCard:
    parts: dict[str, object] = {
        "title": "t",
        "is_simulation": False,
        "methods": {"cot": {"calls": 1}},
        "benchmarks": {"nq": {"fingerprint": "a"}},
        "seeds": (0,),
        "repeats": 1,
        "llm": {"model": "m"},
        "search": {"kind": "bm25", "k": 5},
        "scoring": describe_scoring(unicode_normalise=False),
        "prompts": "p",
        "runs": ({"started": "now"},),
    }
    return EvaluationCard.model_validate(parts | changes)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    card().write(tmp_path)
    assert EvaluationCard.read(tmp_path) == card()


def test_methods_benchmarks_seeds_and_repeats_may_be_added(tmp_path: Path) -> None:
    looked = {"questions": 50, "shown": 20}
    more = card(methods={"direct": {}}, benchmarks={"popqa": {}}, seeds=(1,), repeats=2, audit={"popqa": looked})
    joined = more.join(card(audit={"nq": looked}), directory=tmp_path)
    assert joined.audit == {"nq": looked, "popqa": looked}
    assert list(joined.methods) == ["cot", "direct"]
    assert list(joined.benchmarks) == ["nq", "popqa"]
    assert (joined.seeds, joined.repeats, len(joined.runs)) == ((0, 1), 2, 2)


def test_policies_of_further_seeds_may_be_added_and_those_there_stay(tmp_path: Path) -> None:
    def of(**policies: str) -> EvaluationCard:
        return card(methods={"trained": {"temperature": 0.0, "policies": policies}})

    joined = of(b="2").join(of(a="1"), directory=tmp_path)
    assert joined.methods["trained"]["policies"] == {"a": "1", "b": "2"}
    assert of(a="1").join(joined, directory=tmp_path).methods == joined.methods
    with pytest.raises(ConfigError, match=r"methods\.trained\.policies was"):
        of(a="3").join(joined, directory=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"cot": {"calls": 2}}}, "methods.cot.calls was 1 and is 2"),
        ({"benchmarks": {"nq": {"fingerprint": "b"}}}, 'benchmarks.nq.fingerprint was "a" and is "b"'),
        ({"llm": {"model": "n"}}, 'llm.model was "m" and is "n"'),
        ({"search": {"kind": "bm25", "k": 3}}, "search.k was 5 and is 3"),
        ({"scoring": describe_scoring(unicode_normalise=True)}, "scoring.normaliser was"),
        ({"prompts": "q"}, 'prompts was "p" and is "q"'),
    ],
)
def test_what_answers_depend_on_stays_as_it_is(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        card(**changes).join(card(), directory=tmp_path)
    assert message in str(error.value)
    assert "Choose another --output" in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 9}', '{"schema_version": 1}', "[" * 100_000])
def test_a_damaged_card_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(DataError, match=r"card\.json: expected"):
        EvaluationCard.read(tmp_path)


def test_no_card(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the directory of an evaluation"):
        EvaluationCard.read(tmp_path)


def test_the_llm_is_described_without_keys_and_timeouts() -> None:
    llm = LLMConfig(
        kind="openai", model="m", base_url="http://me:secret@host/v1?api_key=secret",
        endpoints={"other": EndpointConfig(base_url="http://you:secret@other/v1")}, roles={"default": ("llm", "other")},
    )  # fmt: skip
    described = describe_llm(llm, world=EmbeddedConfig())
    assert "secret" not in str(described)
    assert described["base_url"].startswith("http://host/v1")  # type: ignore[union-attr]
    assert (described["model"], described["temperature"]) == ("m", 0.7)
    assert not {"timeout_seconds", "api_key_env", "concurrency"} & described.keys()
    slower = llm.model_copy(update={"timeout_seconds": 9.0})
    assert describe_llm(slower, world=EmbeddedConfig()) == described


def test_an_index_is_described_by_its_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Jaws", "text": "A film of Spielberg."}\n')
    BM25Index.build(tmp_path / "corpus.jsonl", tmp_path / "index")
    described = describe_search(SearchConfig(kind="bm25", index=tmp_path / "index", k=3), world=EmbeddedConfig())
    assert (described["corpus"], described["num_passages"], described["k"]) == ("corpus.jsonl", 1, 3)
    assert "passage_chars" not in described
    cut = SearchConfig(kind="bm25", index=tmp_path / "index", passage_chars=300)
    assert describe_search(cut, world=EmbeddedConfig())["passage_chars"] == 300
    assert len(str(described["corpus_sha256"])) == 64


def test_a_retrieval_server_is_described_without_its_login() -> None:
    server = RetrievalServerConfig(url="http://me:secret@host:8000/retrieve")
    described = describe_search(SearchConfig(kind="server", server=server), world=EmbeddedConfig())
    assert "secret" not in str(described)
    assert "host:8000" in str(described)


def test_prompts_have_one_fingerprint() -> None:
    assert fingerprint_of_prompts() == fingerprint_of_prompts()
    assert len(fingerprint_of_prompts()) == 64


def test_the_embedded_world_is_described_by_its_seed_and_by_the_dials_that_were_turned() -> None:
    assert describe_llm(LLMConfig(), world=EmbeddedConfig(seed=3)) == {"kind": "embedded", "world_seed": 3}
    # What the demonstrators do changes nothing in an evaluation.
    turned = EmbeddedConfig(seed=3, namesakes=0.2, missing={"spouse": 0.5}, padding=(1, 2), strategy={"check": 0.1})
    world = {"namesakes": 0.2, "missing": {"spouse": 0.5}}
    assert describe_llm(LLMConfig(), world=turned) == {"kind": "embedded", "world_seed": 3, "world": world}
    assert describe_search(SearchConfig(), world=turned)["world"] == world
