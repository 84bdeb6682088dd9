"""The checks of ``workflow-r1 doctor``. Each reports its finding and, where something is wrong, the remedy.

A check reads and asks; it writes nothing but an empty file that it removes, and builds nothing that takes long.
"""

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflow_r1.errors import ConfigError, ServiceError, UserError
from workflow_r1.installation import DISTRIBUTION, install_command
from workflow_r1.nearest import did_you_mean
from workflow_r1.running.audit_check import check_audit
from workflow_r1.running.findings import Check, Finding, Status, ok, problem, warning
from workflow_r1.running.policy_fit import misfits
from workflow_r1.running.policy_server_check import check_policy_server

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.config.llm import LLMConfig
    from workflow_r1.config.run import DataConfig, PolicyConfig
    from workflow_r1.config.sections import PoolSettings, ServiceSettings
    from workflow_r1.environment import EnvironmentConfig
    from workflow_r1.inference import OpenAIChatConfig
    from workflow_r1.rewards import RewardConfig
    from workflow_r1.rollout.renderer import TemplateConfig
    from workflow_r1.store import StoreConfig
    from workflow_r1.trajectory import Question

ASK_SECONDS = 20.0
"""Longest wait for one reply of a service."""
_ONCE = {"timeout_seconds": ASK_SECONDS, "idle_timeout_seconds": ASK_SECONDS, "max_retries": 0}
"""Patience of one attempt: a doctor says at once what retries would hide for a while."""
SPACE_PROBLEM, SPACE_WARNING = 200 * 2**20, 2 * 2**30
"""Free bytes below which a run is not expected to end, or below which it may fail."""
SLOW_CPU_PARAMETERS = 500_000_000
"""Number of parameters from which on a policy on a CPU takes patience."""


ACTING = ("task", "reward", "operators", "llm", "search", "audit", "prices", "policy", "sampling.server")
"""Checks that run code or ask services which the configuration names."""


def plan(config: "RunConfig", *, directory: Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Check]:
    """Return every check of a configuration by its subject, in the order of the report.

    Args:
        config: the configuration to check.
        directory: the run directory that it comes from, if it comes from one. The checks read an untrusted one, but run
            nothing of it and ask none of its services.
        overrides: overrides of the command line.
    """
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.rewards import RewardConfig
    from workflow_r1.running.trust import untrusted_effects

    checks: dict[str, Check] = {
        "run directory": lambda: check_directory(config.directory),
        **(
            {"data": lambda: check_data(config.data, config.warmstart.demonstrations)}
            if config.task == QUESTIONS
            else {"task": lambda: check_task(config)}
        ),
        **({"reward": lambda: check_reward(config.reward)} if config.reward != RewardConfig() else {}),
        "operators": lambda: check_operators(config.pool),
        "llm": lambda: check_llm(config.services, config.pool, also=_needs_of_task(config)),
        "search": lambda: check_search(config.services, config.pool, also=_needs_of_task(config)),
        **({"audit": lambda: check_audit(config)} if config.task == QUESTIONS else {}),
        "store": lambda: check_store(config.store),
        "prices": lambda: check_prices(config.services, config.pool, config.policy, also=_needs_of_task(config)),
        "policy": lambda: check_policy(config),
        "sampling.server": lambda: check_policy_server(
            config.sampling, config.environment, trains_adapters=config.optimiser.lora is not None
        ),
    }
    if directory is None or not (effects := untrusted_effects(directory, config, overrides)):
        return checks
    would = "; ".join(effect.does for effect in effects)
    finding = warning(
        "trust",
        f"{directory} was not made here by you, so {', '.join(ACTING)} were not looked at: its configuration would {would}",
        "read it; commands that run it take --trust",
    )
    return {"trust": lambda: [finding], **{name: check for name, check in checks.items() if name not in ACTING}}


# ------------------------------------------------------------------------------------------------------ installation


def check_python() -> Iterable[Finding]:
    """Compare the interpreter with the package's requirement."""
    try:
        about = metadata.distribution(DISTRIBUTION).metadata.json
    except metadata.PackageNotFoundError:
        yield warning("python", f"{sys.version.split()[0]}; {DISTRIBUTION} is not installed", "pip install -e .")
        return
    needed = str(about.get("requires_python", ""))
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if _version(sys.version.split()[0]) < _version(needed):
        yield problem("python", f"{found}, expected {needed}", "make a new environment with a newer Python")
    else:
        yield ok("python", found)


def check_packages() -> Iterable[Finding]:
    """Check the packages of the base install, and those of each extra; a run's own checks say which of these it needs."""
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    groups: dict[str, dict[str, str]] = {}
    for line in required:
        match = re.match(r"([\w.-]+)(?:\[.*?\])?([^;]*)(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?", line)
        if match is not None:
            groups.setdefault(match[3] or "", {})[match[1]] = match[2].strip()
    for extra, packages in groups.items():
        if extra in ("dev", "docs"):
            continue
        versions = {name: _installed(name) for name in packages}
        absent = [name for name, version in versions.items() if version is None]
        old = [
            f"{name} {version} (expected {packages[name]})"
            for name, version in versions.items()
            if version is not None and not _is_new_enough(version, packages[name])
        ]
        subject = f"extra {extra}" if extra else "packages"
        install = install_command(extra)
        if old or (absent and not extra):
            wrong = [*old, *(f"{name} is not installed" for name in absent)]
            yield (warning if extra else problem)(subject, ", ".join(wrong), install)
        elif absent:
            yield ok(subject, f"not installed ({', '.join(absent)}); where it is needed: {install}")
        else:
            yield ok(subject, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _is_new_enough(version: str, specifier: str) -> bool:
    lowest = re.search(r">=\s*([\d.]+)", specifier)
    return lowest is None or _version(version) >= _version(lowest[1])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


# -------------------------------------------------------------------------------------------------------------- files


def check_directory(directory: Path) -> Iterable[Finding]:
    """Check that run directories can be made, and measure the free room."""
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield problem(
            "run directory", f"cannot write in {existing}: {error.strerror}", "set `directory` to another place"
        )
        return
    free = shutil.disk_usage(existing).free
    found = f"{directory} can be written, {free / 2**30:.1f} GiB free"
    if free < SPACE_PROBLEM:
        yield problem("run directory", found, "free some space; a checkpoint holds the policy and its optimiser")
    elif free < SPACE_WARNING:
        yield warning("run directory", found, "checkpoints of a larger policy may not fit")
    else:
        yield ok("run directory", found)


def check_data(data: "DataConfig", demonstrations: str | None) -> Iterable[Finding]:
    """Every file of questions and demonstrations, read to its end."""
    from workflow_r1.assembly.questions import load_files
    from workflow_r1.data import overlaps
    from workflow_r1.data.hub import check_source
    from workflow_r1.trajectory.storage import iterate_trajectories

    if data.source == "embedded":
        yield ok("data", "questions of the embedded world (a simulation)")
    else:
        loaded: list[list[Question]] = []
        uses: tuple[tuple[Literal["train", "evaluation"], Path | None, str], ...] = (
            ("train", data.train, "training"),
            ("evaluation", data.evaluation, "evaluation"),
        )
        for use, path, purpose in uses:
            key = f"data.{use}"
            if path is None:
                yield warning(key, f"none, which {purpose} needs", f"set {key} to a file of questions")
                continue
            try:
                questions = load_files(data, use)
                source = check_source(path, questions)
            except (UserError, OSError) as error:
                yield problem(key, error)
            else:
                origin = "" if source is None else f", as fetched from {source.repository} at {source.revision[:12]}"
                yield ok(key, f"{len(questions)} questions in {path}{origin}")
                loaded.append(questions)
        if len(loaded) == 2 and (shared := overlaps(*loaded)):
            yield warning(
                "data",
                f"{len(shared)} held-out questions are also trained on, e.g. {shared[0][1]}",
                "`workflow-r1 data convert` with --without leaves them out of a file",
            )
    if demonstrations is not None:
        try:
            num = sum(1 for _ in iterate_trajectories(demonstrations))
        except (UserError, OSError) as error:
            yield problem("warmstart.demonstrations", error)
        else:
            yield ok("warmstart.demonstrations", f"{num} trajectories in {demonstrations}")


def check_task(config: "RunConfig") -> Iterable[Finding]:
    """The task: its code, its settings, the instances of both splits, and one episode that is opened and closed."""
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.running.parts import held_out_questions, train_questions
    from workflow_r1.running.tasks import open_once
    from workflow_r1.tasks.instances import check_apart

    try:
        task = build_task(config.chosen_task)
        assert task is not None
        train, held_out = train_questions(config), held_out_questions(config)
        check_apart(task, train, held_out)
        prompt = asyncio.run(open_once(config, train[0]))
    except (UserError, ServiceError) as error:
        yield problem("task", error)
        return
    actions = ", ".join(task.actions) or "any"
    yield ok(
        "task",
        f"{task.name}{' (a simulation)' if task.is_simulation else ''}: {len(train)} instances to train on, {len(held_out)} held "
        f"out; actions {actions}, in the format {task.action_format}; a prompt of {len(prompt)} characters",
    )


# ----------------------------------------------------------------------------------------------- operators and services


def check_reward(reward: "RewardConfig") -> Iterable[Finding]:
    """Import the reward functions of the user's own."""
    from workflow_r1.rewards import Scorer

    try:
        scorer = Scorer(reward)
    except UserError as error:
        yield problem("reward", error)
        return
    terms = " + ".join(f"{weight:g} {name}" for name, weight in reward.weights.items()) or "the task's own"
    cost = f", less the cost in {reward.cost.kind} (dial {reward.cost.dial:g})" if reward.cost.dial else ""
    alone = "; compared within each group" if scorer.is_relative else ""
    yield ok("reward", f"{terms}{cost}{alone}")


def check_operators(pool: "PoolSettings") -> Iterable[Finding]:
    """The pool, the plugins, and the entry points of installed packages."""
    from workflow_r1.assembly.operators import build_operators, check_pool
    from workflow_r1.operators import find_operators

    try:
        found = find_operators(pool.plugins)
        check_pool(pool.names, build_operators(pool))
    except UserError as error:
        yield problem("operators", error)
        return
    own = [name for name in pool.names if found.operators[name].origin != "built-in"]
    yield ok("operators", f"{len(pool.names)} in the pool" + (f", of your own: {', '.join(own)}" if own else ""))
    for text in found.problems:
        yield warning("entry points", text, "this stops only runs that ask for it")


def check_llm(
    services: "ServiceSettings", pool: "PoolSettings", *, also: Mapping[str, Collection[str]] = {}
) -> Iterable[Finding]:
    """Every endpoint that the pool will use: address, key, model, one request of one token."""
    from workflow_r1.config.llm import endpoint_chat_config
    from workflow_r1.running.services import section_of

    llm, names = services.llm, _who_needs(pool, "llm", also)
    if not names:
        return [ok("llm", "nothing in the run needs it")]
    if llm.kind == "embedded":
        return [ok("llm", "the embedded world's expert (a simulation)")]
    if services.store.mode == "replay":
        return [ok("llm", "replies come from the store of calls alone")]
    endpoints = _endpoints(llm, names)
    findings: dict[str, Finding] = {}
    for name in dict.fromkeys(name for each in endpoints for name in each):
        section = section_of(name)
        try:
            findings[name] = asyncio.run(_examine(section, endpoint_chat_config(llm, name)))
        except ConfigError as error:
            findings[name] = problem(section, error)
    for name, finding in findings.items():
        others = [
            [other for other in each if findings[other].status is not Status.PROBLEM]
            for each in endpoints
            if name in each
        ]
        if finding.is_service and all(others):
            findings[name] = warning(
                finding.subject, finding.found, "until then the other endpoints of its role take over"
            )
    return findings.values()


async def _examine(section: str, chat_config: "OpenAIChatConfig") -> Finding:
    """Ask one endpoint for its models, then for one token."""
    from workflow_r1.inference import OpenAIChatModel
    from workflow_r1.running.services import ask_once

    chat_config = chat_config.model_copy(update=_ONCE)
    variable = chat_config.api_key_env
    key = f"key from {variable}" if os.environ.get(variable, "").strip() else f"no key in {variable}"
    failure: ServiceError | None = None
    async with OpenAIChatModel(chat_config) as chat:
        served = await chat.served_models()
        started = time.perf_counter()
        try:
            await ask_once(chat, section)
        except ServiceError as error:
            failure = error
        seconds = time.perf_counter() - started
    hint = f"it serves {', '.join(served[:5])}{', ...' if len(served) > 5 else ''}" if served else ""
    unlisted = bool(served) and chat_config.model not in served
    if unlisted:
        hint += did_you_mean(chat_config.model, served, cutoff=0.3)
    if failure is not None:
        return problem(section, failure, hint if unlisted else "")
    found = f"{chat_config.model} at {chat_config.address} replied in {seconds:.2f} s ({key})"
    return warning(section, f"{found}, but does not list that model", hint) if unlisted else ok(section, found)


def check_search(
    services: "ServiceSettings", pool: "PoolSettings", *, also: Mapping[str, Collection[str]] = {}
) -> Iterable[Finding]:
    """One query, where that takes no index to be built first."""
    from workflow_r1.assembly.search import build_search
    from workflow_r1.assembly.stored_search import is_stored
    from workflow_r1.inference import HoldsConnections
    from workflow_r1.retrieval.corpus import iterate_corpus

    search = services.search
    if not _who_needs(pool, "search", also):
        yield ok("search", "nothing in the run needs it")
        return
    if services.store.mode == "replay" and is_stored(search):
        yield ok("search", "answers come from the store of calls alone")
        return
    if search.kind == "bm25" and search.index is not None and not search.index.exists() and search.corpus is not None:
        next(iterate_corpus(search.corpus))
        size = search.corpus.stat().st_size / 2**20
        yield warning(
            "search",
            f"no index at {search.index} yet",
            f"the first run builds it from {search.corpus} ({size:.0f} MiB)",
        )
        return

    # One attempt: a doctor says at once what retries would hide for a while.
    once = {
        kind: section.model_copy(update={"max_retries": 0})
        for kind in ("server", "web", "mcp")
        if (section := getattr(search, kind)) is not None
    }

    async def ask() -> Finding:
        backend = build_search(search.model_copy(update=once), services.world)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                passages = await backend("Who was born in 1950?", k=search.k)
        except TimeoutError:
            return Finding(
                "search", Status.PROBLEM, f"no reply within {ASK_SECONDS:g} s", "see its log", is_service=True
            )
        finally:
            if isinstance(backend, HoldsConnections):
                await backend.aclose()
        seconds = time.perf_counter() - started
        found = f"{search.kind}: {len(passages)} passages in {seconds:.2f} s"
        return ok("search", found) if passages else warning("search", found, "is it the right index?")

    yield asyncio.run(ask())


def check_store(store: "StoreConfig") -> Iterable[Finding]:
    """Check that the store of calls can be used as configured."""
    from workflow_r1.store import CallDatabase

    if store.mode == "off":
        yield ok("store", "off: every call goes to its service")
        return
    if store.mode != "replay" and not store.path.exists():
        yield ok("store", f"nothing at {store.path} yet: the first call makes it")
        return
    with contextlib.closing(CallDatabase(store.path, read_only=True)) as database:
        num = sum(row[2] for row in database.sizes())
    yield ok("store", f"{num} calls in {store.path}")


def check_prices(
    services: "ServiceSettings",
    pool: "PoolSettings",
    policy: "PolicyConfig",
    *,
    also: Mapping[str, Collection[str]] = {},
) -> Iterable[Finding]:
    """Check every price that a budget of money needs, and that each given price belongs to something."""
    from workflow_r1.assembly.chat_models import SIMULATED_EXPERT
    from workflow_r1.assembly.stored_search import is_stored
    from workflow_r1.config.llm import endpoint_chat_config
    from workflow_r1.running.policies import POLICY

    llm, prices = services.llm, services.prices
    named, unknown = {SIMULATED_EXPERT, POLICY, policy.model}, []
    if policy.base_url is not None and prices.find(POLICY, policy.model) is None:
        unknown.append(f'prices.models."{policy.model}"')
    if llm.kind == "openai":
        named |= {"llm", llm.model, *llm.endpoints}
        named |= {endpoint.model for endpoint in llm.endpoints.values() if endpoint.model}
        for name in dict.fromkeys(name for each in _endpoints(llm, _who_needs(pool, "llm", also)) for name in each):
            model = endpoint_chat_config(llm, name).model
            if prices.find(name, model) is None:
                unknown.append(f'prices.models."{model}"')
    if _who_needs(pool, "search", also) and is_stored(services.search) and prices.per_search is None:
        unknown.append("prices.per_search")
    for key in prices.models:
        if key not in named:
            yield warning(
                "prices", f"prices.models has {key!r}, which is not an endpoint or model here", "is it misspelt?"
            )
    told = f"unknown: {', '.join(dict.fromkeys(unknown))}" if unknown else "known for every service"
    if unknown and services.budget.money is not None and services.store.mode != "replay":
        yield problem("prices", f"budget.money needs every price; {told}", "set them (0 where it costs nothing)")
    else:
        yield ok("prices", told)


def _endpoints(llm: "LLMConfig", operators: Sequence[str]) -> list[tuple[str, ...]]:
    """The endpoints of each role that some operators have."""
    from workflow_r1.config.llm import DEFAULT_ROLE

    roles = dict.fromkeys(name if name in llm.roles else DEFAULT_ROLE for name in operators)
    return [llm.endpoints_of(role) for role in roles]


def _needs_of_task(config: "RunConfig") -> Mapping[str, Collection[str]]:
    """The services that the task itself uses, by its name; a task that cannot be had is reported by a check of its own."""
    from workflow_r1.assembly.tasks import build_task

    try:
        task = build_task(config.chosen_task)
    except UserError:
        return {}
    return {} if task is None else {task.name: task.needs}


def _who_needs(pool: "PoolSettings", need: str, also: Mapping[str, Collection[str]]) -> list[str]:
    """The operators of the pool that need a service, and the task; an operator that cannot be had may need any."""
    from workflow_r1.assembly.operators import build_operators

    others = [name for name, needs in also.items() if need in needs]
    try:
        operators = build_operators(pool)
    except UserError:
        return [*pool.names, *others]
    return [*(name for name in pool.names if need in operators[name].needs), *others]


# ------------------------------------------------------------------------------------------------------------- policy


def check_policy(config: "RunConfig") -> Iterable[Finding]:
    """The policy's server; or its tokenizer, its files, and the device that it will run on."""
    from workflow_r1.assembly.policy import policy_chat_config
    from workflow_r1.running.policies import policy_server_config, require_engine, tokenizer_of_server
    from workflow_r1.running.served_policy_check import check_history, check_tokens

    source = tokenizer_of_server(config.policy)
    if source is not None:
        server = policy_server_config(config.policy, config.llm, concurrency=config.sampling.max_sessions)
        yield asyncio.run(check_tokens(server, config.policy.template, source))
        return
    if config.policy.base_url is not None:
        chat_config = policy_chat_config(config.policy, config.llm, concurrency=config.sampling.max_sessions)
        replied = asyncio.run(_examine("policy", chat_config))
        yield replied
        if replied.status is not Status.PROBLEM:
            yield asyncio.run(check_history(chat_config.model_copy(update=_ONCE)))
        return
    require_engine("a policy in this process")
    import torch
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoConfig, AutoModelForCausalLM

    from workflow_r1.policy.model import load_tokenizer, model_source, resolve_device

    source = model_source(config.policy)
    if not Path(source).is_dir():
        cached = try_to_load_from_cache(source, "config.json")
        if not isinstance(cached, str):
            yield warning("policy", f"{source} is not on this machine yet", "the first run downloads it from its hub")
            return
        source = str(Path(cached).parent)
    tokenizer = load_tokenizer(source)
    problem_of_template = _examine_template(config.policy.template, config.environment, tokenizer)
    if problem_of_template is not None:
        yield problem_of_template
    try:
        settings = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(settings)
    except (OSError, ValueError, KeyError) as error:
        yield problem("policy", f"expected a causal language model at {source}: {str(error).splitlines()[0]}")
        return
    num = sum(parameter.numel() for parameter in model.parameters())
    found = f"{source}: {num / 1e6:.1f}M parameters, {len(tokenizer)} tokens, chat template"
    rows = model.get_input_embeddings().num_embeddings
    absent = _absent_weights(Path(source))
    if rows < len(tokenizer):
        yield problem("policy", f"{found}, but only {rows} embeddings", "model and tokenizer do not belong together")
    elif absent:
        yield problem("policy", f"{found}, but no {', '.join(absent)}", "copy the model's weights again")
    else:
        yield ok("policy", found)
    yield from misfits(config)
    device = resolve_device(config.policy.device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        yield ok("device", f"{device}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    elif num >= SLOW_CPU_PARAMETERS:
        yield warning("device", f"{device}, {os.cpu_count()} cores", "a policy of this size wants a GPU")
    else:
        yield ok("device", f"{device}, {os.cpu_count()} cores, torch {torch.__version__}")


def _examine_template(template: "TemplateConfig", environment: "EnvironmentConfig", tokenizer: Any) -> "Finding | None":
    """Render the longest prompt; None where nothing is wrong."""
    from workflow_r1.prompts import render_prompt
    from workflow_r1.rollout.renderer import Renderer
    from workflow_r1.trajectory import Question

    question = Question(id="doctor", text="Who?", golden_answers=())
    try:
        Renderer(tokenizer, template).prompt(render_prompt(question, (), environment.prompt_style))
    except UserError as error:
        return problem("chat template", error)
    return None


def _absent_weights(directory: Path) -> Sequence[str]:
    """Files of weights that should be in a model's directory and are not; none for a model of a hub."""
    import json

    if not directory.is_dir():
        return []
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [name for name in names if not (directory / name).is_file()]
    return [] if any(directory.glob("*.safetensors")) or any(directory.glob("*.bin")) else ["*.safetensors"]
