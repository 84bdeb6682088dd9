"""Methods and benchmarks of ``workflow-r1 evaluate``, as they stand on the command line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError, DataError
from workflow_r1.nearest import did_you_mean
from workflow_r1.running.policies import POLICY, choose_method, pool_of, tokenizer_of_server

if TYPE_CHECKING:
    from pydantic import JsonValue

    from workflow_r1.config import RunConfig
    from workflow_r1.evaluation.card import Described
    from workflow_r1.trajectory import Question

WITH_SEARCH = "+search"
SEED = "{seed}"
"""Placeholder of the seed in the path of a policy, where each seed has trained one of its own."""


@dataclass(frozen=True)
class Compared:
    """A method with the configuration that it runs under."""

    name: str
    """Name in rows and tables."""
    method: str
    """``policy``, or a name in ``METHODS``."""
    configs: "Mapping[int, RunConfig]"
    """Configuration by seed: the evaluation's, with the policy and the environment of this one."""

    @property
    def config(self) -> "RunConfig":
        """Names of the operators under the first seed; all seeds have the same operators."""
        return next(iter(self.configs.values()))

    def describe(self, temperature: float) -> "Described":
        """Describe the conditions of its answers, for the card.

        Args:
            temperature: temperature of a policy.
        """
        from workflow_r1.evaluation.card import POLICIES

        config = self.config
        operators = {name: operator.usage for name, operator in pool_of(config, self.method).items()}
        described: Described = {"method": self.method, "operators": dict(operators)}
        if self.method == POLICY:
            policies: dict[str, JsonValue] = {
                str(seed): {
                    "model": each.policy.model,
                    "address": _masked(each.policy.base_url),
                    "rendered_by": "us"
                    if tokenizer_of_server(each.policy) or each.policy.base_url is None
                    else "the server",
                    "template": each.policy.template.model_dump(mode="json"),
                    "weights_sha256": _fingerprint_of_weights(Path(each.policy.model)),
                }
                for seed, each in self.configs.items()
            }
            environment = config.environment.model_dump(mode="json", exclude={"operators"})
            return described | {POLICIES: policies, "temperature": temperature, "environment": environment}
        method = choose_method(config, self.method)
        settings = config.methods.model_dump(mode="json")
        return described | {"summary": method.summary, "settings": settings.get(method.settings_name, {})}


def read_methods(
    config: "RunConfig", given: Iterable[str], *, seeds: Sequence[int], trust: bool = False
) -> list[Compared]:
    """Read names of methods: ``cot``, ``policy+search``, or ``NAME=PATH`` for the policy of a run or model.

    Args:
        config: configuration of the evaluation.
        given: values of the option; each may hold several, with commas between. ``{seed}`` in a path stands for each seed.
        seeds: seeds of the evaluation.
        trust: the user trusts the run directories among the paths.

    Raises:
        UntrustedError: a run directory among the paths is somebody else's, and would run code or ask services.
        ConfigError: there is no such method, its path leads nowhere, or a name comes twice.
    """
    compared: list[Compared] = []
    for each in _split(given):
        name, is_policy, path = each.partition("=")
        if is_policy:
            paths = {seed: path.replace(SEED, str(seed)) for seed in seeds}
            compared.append(_of_one_pool(Compared(name, POLICY, _with_policies(config, paths, name, trust))))
        elif each == POLICY + WITH_SEARCH:
            compared.append(Compared(each, POLICY, dict.fromkeys(seeds, _with_search(config))))
        else:
            name = POLICY if each == POLICY else choose_method(config, each).name
            compared.append(Compared(name, each, dict.fromkeys(seeds, config)))
    names = [one.name for one in compared]
    if len(set(names)) < len(names):
        raise ConfigError(f"method: expected every name once, received {', '.join(names)}")
    return compared


def _with_policies(
    config: "RunConfig", paths: "Mapping[int, str]", name: str, trust: bool
) -> "Mapping[int, RunConfig]":
    opened = {path: _with_policy(config, path, name, trust) for path in dict.fromkeys(paths.values())}
    return {seed: opened[path] for seed, path in paths.items()}


def _of_one_pool(compared: Compared) -> Compared:
    pools = {each.environment.operators for each in compared.configs.values()}
    if len(pools) > 1:
        told = " and ".join(f"({', '.join(pool)})" for pool in sorted(pools))
        raise ConfigError(f"method: expected the policies of {compared.name} to have one pool, found {told}")
    return compared


def _with_policy(config: "RunConfig", path: str, name: str, trust: bool) -> "RunConfig":
    from workflow_r1.config import change_settings
    from workflow_r1.running.configuration import open_config

    if not name or not Path(path).exists():
        raise ConfigError(
            f"method: expected NAME=PATH with the directory of a run or of a Hugging Face model, received {name}={path}"
        )
    if (Path(path) / "config.toml").is_file():
        of_run = open_config(path, trust=trust)
        return change_settings(config, {"policy": of_run.policy, "environment": of_run.environment})
    return change_settings(config, {"policy.model": path, "policy.base_url": None})


def _with_search(config: "RunConfig") -> "RunConfig":
    from workflow_r1.config import change_settings
    from workflow_r1.methods.method import SEARCH

    operators = tuple(dict.fromkeys((*config.environment.operators, SEARCH)))
    return change_settings(config, {"environment.operators": operators})


@dataclass(frozen=True)
class Asked:
    """The questions of one benchmark."""

    name: str
    """Name in rows and tables."""
    questions: "Sequence[Question]"
    """Questions with ids that are unique among them."""
    file: Path | None
    """File of the questions; None for the embedded world, and for another task."""
    is_embedded: bool = False
    """True for questions of the embedded world."""
    task: "Described | None" = None
    """Name and settings of the task that the instances are of; None for questions."""

    def describe(self) -> "Described":
        """Describe the conditions of its figures, for the card."""
        from workflow_r1.data import report_questions
        from workflow_r1.data.hub import read_source

        report = report_questions(self.questions)
        source = None if self.file is None else read_source(self.file)
        # A key of its own, and only where it says something: a card from before answers were compared so stays the same card
        # for all other questions.
        emptied: Described = {"emptied_answers": report.emptied_note()} if report.empty_answers else {}
        of_task: Described = {} if self.task is None else {"task": self.task}
        return (
            emptied
            | of_task
            | {
                "file": None if self.file is None else str(self.file),
                "num_questions": report.num_questions,
                "fingerprint": report.fingerprint,
                "datasets": {
                    " ".join(part for part in key if part): number for key, number in sorted(report.datasets.items())
                },
                "num_asked_twice": sum(len(ids) - 1 for ids in report.duplicates),
                "source": None if source is None else source.model_dump(mode="json"),
            }
        )


def read_benchmarks(config: "RunConfig", given: Iterable[str], *, directory: Path, limit: int | None) -> list[Asked]:
    """Read the questions of benchmarks: known names, files, ``NAME=FILE``, or ``embedded``; without any, the configuration's.

    Args:
        config: its ``data`` says how files are written.
        given: values of the option; each may hold several, with commas between.
        directory: the directory of ``workflow-r1 data fetch``.
        limit: only the first so many questions of each.

    Raises:
        ConfigError: there is no such benchmark, or a name comes twice.
        DataError: a file is missing, empty or malformed.
    """
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.config import change_settings
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.running.configuration import open_questions

    given = _split(given)
    if config.task != QUESTIONS:
        if given:
            raise ConfigError(
                f"benchmark: expected none with task = {config.task!r}, which holds out instances of its own, received "
                f"{', '.join(given)}; leave it out"
            )
        task = build_task(config.chosen_task)
        assert task is not None
        described: Described = {"name": task.name, "settings": task.settings.model_dump(mode="json")}
        return [Asked(task.name, open_questions(config, limit), None, task=described)]
    if not given:
        questions = open_questions(config, limit)
        file = config.data.evaluation if config.data.source == "files" else None
        return [Asked(_name_of(questions, file), questions, file, is_embedded=file is None)]
    asked = []
    for each in given:
        if each == "embedded":
            embedded = change_settings(config, {"data.source": "embedded"})
            asked.append(Asked(each, open_questions(embedded, limit), None, is_embedded=True))
            continue
        name, file = _find_benchmark(each, directory)
        questions = open_questions(change_settings(config, {"data.source": "files", "data.evaluation": file}), limit)
        asked.append(Asked(name, questions, file))
    names = [one.name for one in asked]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"benchmark: expected every name once, received {', '.join(names)}; give files names: NAME=FILE"
        )
    return asked


def _find_benchmark(given: str, directory: Path) -> tuple[str, Path]:
    from workflow_r1.data import BENCHMARKS

    benchmark = BENCHMARKS.get(given)
    if benchmark is not None:
        file = benchmark.path_in(directory, benchmark.default_split)
        if not file.is_file():
            raise DataError(
                f"expected the questions of {given} at {file}, found none; run `workflow-r1 data fetch {given} "
                f"-d {directory}`, name their folder with --data, or name a file: {given}=FILE"
            )
        return given, file
    name, _, path = given.rpartition("=")
    if not Path(path).is_file():
        hint = did_you_mean(given, [*BENCHMARKS, "embedded"])
        raise ConfigError(
            f"benchmark: expected embedded, {', '.join(BENCHMARKS)}, a file or NAME=FILE, received {given!r}{hint}"
        )
    return name or Path(path).name.split(".")[0], Path(path)


def _name_of(questions: "Sequence[Question]", file: Path | None) -> str:
    if file is None:
        return "embedded"
    datasets = {question.dataset for question in questions} - {""}
    return datasets.pop() if len(datasets) == 1 else file.name.split(".")[0]


def _split(given: Iterable[str]) -> list[str]:
    return [name.strip() for each in given for name in each.split(",") if name.strip()]


def _fingerprint_of_weights(directory: Path) -> str | None:
    """Return the SHA-256 of the weights in a directory: a run that continues training changes them under the same name."""
    import hashlib

    files = sorted(directory.glob("*.safetensors"))
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if files else None


def _masked(address: str | None) -> str | None:
    from workflow_r1.services.secrets import mask_addresses

    return None if address is None else mask_addresses(address)
