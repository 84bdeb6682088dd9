"""The evaluation card: the conditions of an evaluation's answers, written before the first of them.

Figures of different corpora, retrievers, numbers of passages, normalisers or prompts cannot be compared; the card names
them, and an evaluation continues only in the directory of one whose card says the same.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from workflow_r1.config.llm import LLMConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.embedded.config import EmbeddedConfig
from workflow_r1.errors import ConfigError, DataError
from workflow_r1.retrieval.index_files import read_index_meta
from workflow_r1.rewards.config import RewardConfig
from workflow_r1.services.secrets import mask_addresses
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import write_atomically

CARD = "card.json"
POLICIES = "policies"
"""Key of a method's description that holds a policy for each seed."""

CARD_VERSION = 1
"""Version of the card; another one is refused."""

Described = dict[str, JsonValue]
"""Description of a part of an evaluation, in JSON."""


_HOW_IT_IS_REACHED = (
    "api_key_env", "concurrency", "timeout_seconds", "idle_timeout_seconds", "max_retries", "check_model",
    "cool_down_seconds", "length_field",
)  # fmt: skip
"""Keys of an endpoint that change no answer."""


class EvaluationCard(Record):
    """Conditions of the answers."""

    schema_version: int = CARD_VERSION
    """Version of the card."""
    title: str
    """Name of the evaluation."""
    is_simulation: bool
    """True where questions, LLM or search are the embedded world's."""
    methods: dict[str, Described]
    """Kind, operators and settings of each method, by name."""
    benchmarks: dict[str, Described]
    """File, number of questions and fingerprint of each benchmark, by name."""
    seeds: tuple[int, ...]
    """Each method ran under all of them."""
    repeats: int = Field(ge=1)
    """Answers to each question under a seed."""
    llm: Described
    """LLM that carries out the operators."""
    search: Described
    """Search of the operator Search."""
    scoring: Described
    """Comparison of answers with golden answers."""
    prompts: str
    """SHA-256 of the code that writes requests to LLMs and reads their replies."""
    audit: dict[str, Described] = Field(default_factory=dict)
    """Numbers of ``questions`` that were looked at, and of those whose gold answer Search shows for their own words, by
    benchmark; empty where this is not known. It is a finding, not a condition."""
    runs: tuple[Described, ...] = ()
    """Calls of the command that added answers: time, versions and machine of each."""

    def join(self, before: "EvaluationCard", *, directory: Path) -> "EvaluationCard":
        """Return the card of both: methods, benchmarks and seeds may be added, the existing ones stay as they are.

        Args:
            before: the directory's card.
            directory: its path, for the message.

        Raises:
            ConfigError: a condition of the answers there is different now.
        """
        methods = {name: _with_policies(each, before.methods.get(name)) for name, each in self.methods.items()}
        shared_methods = {name: _with_policies(each, methods.get(name)) for name, each in before.methods.items()}
        different = [
            *_differences(before, self, ("title", "llm", "search", "scoring", "prompts")),
            *_differences(shared_methods, methods, shared_methods.keys() & methods.keys(), "methods."),
            *_differences(
                before.benchmarks, self.benchmarks, before.benchmarks.keys() & self.benchmarks.keys(), "benchmarks."
            ),
        ]
        if different:
            raise ConfigError(
                f"{directory} holds another evaluation, whose answers cannot stand beside these: {'; '.join(different)}. "
                "Choose another --output"
            )
        return self.model_copy(
            update={
                "methods": {**before.methods, **methods},
                "benchmarks": {**before.benchmarks, **self.benchmarks},
                "seeds": tuple(sorted({*before.seeds, *self.seeds})),
                "repeats": max(before.repeats, self.repeats),
                "audit": {**before.audit, **self.audit},
                "runs": (*before.runs, *self.runs),
            }
        )

    def write(self, directory: Path) -> None:
        """Write the card."""
        write_atomically(directory / CARD, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, directory: Path) -> "EvaluationCard":
        """Read the card of a directory.

        Raises:
            DataError: it is missing, damaged, or of another version.
        """
        path = directory / CARD
        if not path.is_file():
            raise DataError(f"expected the directory of an evaluation, found no {CARD} in {directory}")
        try:
            found = json.loads(path.read_bytes())
            version = found.get("schema_version") if isinstance(found, dict) else None
            if version == CARD_VERSION:
                return cls.model_validate(found)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: expected the card of an evaluation, found {str(error)[:200]}") from None
        raise DataError(f"{path}: expected schema_version {CARD_VERSION}, found {version!r}")


def describe_llm(llm: LLMConfig, *, world: EmbeddedConfig) -> Described:
    """Return the LLM that carries out the operators, and its settings, but not its address."""
    if llm.kind == "embedded":
        return {"kind": "embedded", **_describe_world(world)}
    described = llm.model_dump(mode="json")
    endpoints = [described, *described["endpoints"].values()]
    for endpoint in endpoints:
        for key in _HOW_IT_IS_REACHED:
            endpoint.pop(key, None)
        if endpoint["base_url"] is not None:
            endpoint["base_url"] = mask_addresses(endpoint["base_url"], whole_query=True)
    return described


def _describe_world(world: EmbeddedConfig) -> Described:
    """Return the seed of the embedded world, and its dials where they are not the quickstart's."""
    dials = world.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "reading", "padding", "strategy"})
    return {"world_seed": world.seed, **({"world": dials} if dials else {})}


def describe_search(search: SearchConfig, *, world: EmbeddedConfig) -> Described:
    """Describe the search of Search: for an index, its corpus by SHA-256."""
    described: Described = {"kind": search.kind, "k": search.k}
    if search.passage_chars is not None:
        described["passage_chars"] = search.passage_chars
    if search.kind == "embedded":
        described |= _describe_world(world)
    if search.kind == "bm25" and search.index is not None and search.index.exists():
        meta = read_index_meta(search.index)
        described |= {
            "corpus": meta.corpus_name,
            "corpus_sha256": meta.corpus_sha256,
            "num_passages": meta.num_passages,
            "versions": dict(meta.versions),
        }
    of_kind = getattr(search, search.kind, None)
    if isinstance(of_kind, Record):
        settings = of_kind.model_dump(mode="json")
        described[search.kind] = {
            key: mask_addresses(value, whole_query=True) if isinstance(value, str) else value
            for key, value in settings.items()
        }
    return described


def describe_scoring(
    *, unicode_normalise: bool, task: str | None = None, reward: RewardConfig | None = None
) -> Described:
    """Return the rules by which answers are scored.

    Args:
        unicode_normalise: let accents, dashes and the like not matter.
        task: name of a task that judges its own episodes; None for questions with golden answers.
        reward: the reward; described where it is not the task's own.
    """
    changed: Described = {} if reward is None else reward.model_dump(mode="json", exclude_defaults=True)
    own: Described = {"reward": changed} if changed else {}
    if task is not None:
        return {**own, "headline": f"success and reward as the task {task} says"}
    return {
        **own,
        "headline": "exact match with any golden answer",
        "f1": "of tokens, best over the golden answers",
        "normaliser": "SQuAD" + (", after Unicode normalisation" if unicode_normalise else ""),
    }


def fingerprint_of_prompts() -> str:
    """Return the SHA-256 of the modules that write requests to LLMs and read their replies."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in ("prompts", "operators", "methods"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _with_policies(method: Described, other: Described | None) -> Described:
    """A method with the policies of further seeds added to its own."""
    mine, others = method.get(POLICIES), (other or {}).get(POLICIES)
    if not isinstance(mine, dict) or not isinstance(others, dict):
        return method
    joined = {**others, **mine}
    return {**method, POLICIES: {seed: joined[seed] for seed in sorted(joined)}}


def _differences(before: Any, now: Any, keys: Any, prefix: str = "") -> Iterator[str]:
    for key in sorted(keys):
        was, is_now = (part[key] if isinstance(part, Mapping) else getattr(part, key) for part in (before, now))
        if was == is_now:
            continue
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            named = dict.fromkeys((*was, *is_now))
            for name in named:
                if was.get(name) != is_now.get(name):
                    yield f"{prefix}{key}.{name} was {_show(was.get(name))} and is {_show(is_now.get(name))}"
        else:
            yield f"{prefix}{key} was {_show(was)} and is {_show(is_now)}"


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
