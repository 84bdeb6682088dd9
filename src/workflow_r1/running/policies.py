"""Open the policy that a configuration names: in this process, or behind a server."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError
from workflow_r1.running.configuration import require
from workflow_r1.running.policy_fit import refuse_misfit

if TYPE_CHECKING:
    from pathlib import Path

    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.config.llm import LLMConfig
    from workflow_r1.config.run import PolicyConfig
    from workflow_r1.environment import Environment, QuestionEnvironment
    from workflow_r1.inference import HoldsConnections
    from workflow_r1.methods import Method
    from workflow_r1.operators import Operator, OperatorServices
    from workflow_r1.rewards import Score
    from workflow_r1.rollout.policy import Policy
    from workflow_r1.rollout.policy_server import PolicyServerConfig
    from workflow_r1.rollout.sampling import SamplingConfig
    from workflow_r1.trajectory import Message, Question

POLICY = "policy"
"""The method that is the configured policy."""


def open_policy(
    config: "RunConfig", *, temperature: float, accounts: "Accounts"
) -> "tuple[Policy, HoldsConnections | None]":
    """Open the policy for rollouts and evaluation, at a temperature (0 is greedy).

    Args:
        config: configuration with ``policy`` and ``sampling``.
        temperature: temperature of the sampling.
        accounts: accounts that book and limit the calls of a policy's server.

    Returns:
        The policy, and the holder of the connections to its server where it has one.

    Raises:
        ConfigError: the configuration names no usable policy.
        MissingExtraError: the policy runs in this process, and torch or transformers is not installed.
        UserError: the model does not exist, or cannot be a policy.
    """
    from workflow_r1.config import change_settings

    sampling = change_settings(config, {"sampling.temperature": temperature}).sampling
    source = tokenizer_of_server(config.policy)
    if source is not None:
        return _open_served_sampler(config, source, sampling, accounts)
    if config.policy.base_url is not None:
        from workflow_r1.assembly.policy import policy_chat_config
        from workflow_r1.inference import OpenAIChatModel
        from workflow_r1.rollout import ChatPolicy

        client = OpenAIChatModel(
            policy_chat_config(config.policy, config.llm, concurrency=config.sampling.max_sessions)
        )
        limited = accounts.limit_chat(client, endpoint=POLICY, model=config.policy.model)
        chat = accounts.meter_chat(limited, endpoint=POLICY, model=config.policy.model)
        return ChatPolicy(chat, name=config.policy.model, sampling=sampling), chat
    refuse_misfit(config)
    require_engine("a policy in this process")
    import torch

    from workflow_r1.policy.local_sampler import LocalSampler
    from workflow_r1.policy.model import load_policy_model
    from workflow_r1.policy.precision import cast_for_good

    # Adapters of a trained policy are merged into it; new ones would change nothing and cost time.
    model, tokenizer = load_policy_model(config.policy)
    autocast = torch.bfloat16 if config.optimiser.precision == "bfloat16" else None
    if autocast is not None:
        cast_for_good(model, autocast)
    sampler = LocalSampler(
        model,
        tokenizer,
        sampling=sampling,
        template=config.policy.template,
        name=config.policy.model,
        autocast=autocast,
    )
    return sampler, None


def tokenizer_of_server(policy: "PolicyConfig") -> str | None:
    """Return the path of the tokenizer of a policy behind a server, if the server shall get tokens; None where it gets messages.

    Raises:
        ConfigError: it shall get tokens, and no tokenizer is known.
    """
    from pathlib import Path

    if policy.base_url is None or policy.exchange == "chat":
        return None
    if policy.tokenizer is not None:
        return policy.tokenizer
    if (Path(policy.model) / "tokenizer_config.json").is_file():
        return policy.model
    if policy.exchange == "tokens":
        raise ConfigError(
            'policy.tokenizer: expected the path or name of the policy\'s tokenizer, since policy.exchange = "tokens"; set it'
        )
    return None


def _open_served_sampler(
    config: "RunConfig", source: str, sampling: "SamplingConfig", accounts: "Accounts"
) -> "tuple[Policy, HoldsConnections]":
    """Open a policy behind a server of tokens."""
    require("transformers", extra="train", purpose="the tokenizer of a policy behind a server (policy.tokenizer)")
    from workflow_r1.policy.tokenizer import load_tokenizer, released_end_ids
    from workflow_r1.rollout.metered_server import MeteredServer
    from workflow_r1.rollout.policy_server import PolicyServer
    from workflow_r1.rollout.renderer import Renderer
    from workflow_r1.rollout.served_sampler import ServedSampler

    tokenizer = load_tokenizer(source)
    ends = {tokenizer.eos_token_id, *released_end_ids(source)}
    server = MeteredServer(
        PolicyServer(policy_server_config(config.policy, config.llm, concurrency=sampling.max_sessions)),
        accounts,
        endpoint=POLICY,
        model=config.policy.model,
    )
    sampler = ServedSampler(
        server,
        Renderer(tokenizer, config.policy.template),
        sampling=sampling,
        end_ids=sorted(ends),
        name=config.policy.model,
    )
    return sampler, server


def policy_server_config(policy: "PolicyConfig", llm: "LLMConfig", *, concurrency: int) -> "PolicyServerConfig":
    """Settings to reach a server of tokens that is only evaluated; limits are the LLM's, and at most ``concurrency`` requests.

    Raises:
        ConfigError: the configuration names no model there.
    """
    import os

    from workflow_r1.assembly.policy import policy_chat_config
    from workflow_r1.rollout.policy_server import PolicyServerConfig

    chat = policy_chat_config(policy, llm, concurrency=concurrency)
    assert chat.base_url is not None
    return PolicyServerConfig(
        base_url=chat.base_url,
        model=chat.model,
        api_key_env=chat.api_key_env if os.environ.get(chat.api_key_env, "").strip() else None,
        timeout_seconds=chat.timeout_seconds,
        idle_timeout_seconds=chat.idle_timeout_seconds,
        max_retries=chat.max_retries,
        concurrency=chat.concurrency,
        wait_seconds=0.0,
    )


def special_tokens(policy: "PolicyConfig") -> Sequence[str]:
    """Special tokens of the policy's tokenizer, to be neutralised in outside text; none where only its server has one."""
    source = tokenizer_of_server(policy)
    if source is None and policy.base_url is not None:
        return ()
    if source is None:
        require_engine("a policy in this process")
        from workflow_r1.policy.model import model_source

        source = model_source(policy)
    from workflow_r1.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(source)
    return sorted({str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())})


def require_engine(purpose: str) -> None:
    """Refuse where the native engine's packages are not installed.

    Raises:
        MissingExtraError: names the extra.
    """
    for module in ("torch", "transformers", "safetensors"):
        require(module, extra="train", purpose=purpose)
    from transformers.utils import logging

    # Its bars would run through our display.
    logging.disable_progress_bar()


def require_trainable(policy: "PolicyConfig") -> None:
    """Refuse a policy that cannot be trained.

    Raises:
        ConfigError: the policy is behind a server.
        MissingExtraError: the native engine's packages are not installed.
    """
    if policy.base_url is not None:
        raise ConfigError(
            "policy.base_url: expected none for training, since a policy behind a server cannot be trained; leave it out "
            "and let policy.model name a Hugging Face model"
        )
    require_engine("training")


def _token_counter(policy: "Policy") -> "Callable[[Sequence[Message]], int]":
    from workflow_r1.policy.local_sampler import LocalSampler

    assert isinstance(policy, LocalSampler)
    return lambda messages: len(policy.renderer.prompt(messages))


@dataclass(frozen=True)
class OpenedMethod:
    """A policy or method with its environments. ``async with`` closes the connections that it opened."""

    make_policy: "Callable[[], Policy]"
    """Maker of the policy; see ``policy``."""
    make_environments: "Callable[[OperatorServices], Callable[[Question], Environment]]"
    """Makes, from the services, a function that makes a fresh environment for each trajectory."""
    services: "OperatorServices"
    """Services of the operators."""
    score: "Score"
    """Scores a trajectory that the policy itself brought to its end."""
    accounts: "Accounts"
    """Usage and limits of the services."""
    search: "Callable[[], Awaitable[None]] | None" = None
    """Search or training of a method before it can answer; earlier work is not repeated."""
    server: "HoldsConnections | None" = None
    """Holder of the connections to the policy's server, where it has one."""
    count_tokens: "Callable[[Sequence[Message]], int] | None" = None
    """Tokens of a prompt, where the policy's tokenizer is here."""

    @cached_property
    def make_environment(self) -> "Callable[[Question], Environment]":
        """Makes a fresh environment for each trajectory."""
        return self.make_environments(self.services)

    @cached_property
    def policy(self) -> "Policy":
        """The policy that acts. A method that searches first must have done so.

        Raises:
            ConfigError: a part that it needs is missing.
        """
        return self.make_policy()

    async def __aenter__(self) -> "OpenedMethod":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.services.aclose()
        if self.server is not None:
            await self.server.aclose()


def choose_method(config: "RunConfig", name: str) -> "Method":
    """Return the method of that name, where it can be used with this configuration.

    Raises:
        ConfigError: the method does not exist, or it knows the embedded world only and the configuration is about
            another one.
    """
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.methods import find_method

    chosen = find_method(name)
    if config.task != QUESTIONS:
        raise ConfigError(
            f"method: {name} answers questions; with task = {config.task!r} only `policy` can act, so leave the others out"
        )
    if chosen.only_embedded and not (config.data.source == "embedded" and config.llm.kind == "embedded"):
        raise ConfigError(f"method: {name} knows the embedded world only; leave it out, or evaluate that world")
    return chosen


def pool_of(config: "RunConfig", method: str) -> "Mapping[str, Operator]":
    """Return the names of the operators that a method may call.

    Raises:
        ConfigError: the method does not exist, or an operator or plug-in of the configuration cannot be used.
    """
    from workflow_r1.assembly.operators import build_operators

    chosen = None if method == POLICY else choose_method(config, method)
    if chosen is not None and not chosen.takes_pool:
        return chosen.pool({})
    known = build_operators(config.pool)
    configured = {name: known[name] for name in config.environment.operators}
    return configured if chosen is None else chosen.pool(configured)


def open_method(
    config: "RunConfig",
    method: str,
    *,
    temperature: float,
    as_policy: bool = False,
    accounts: "Accounts | None" = None,
    services: "OperatorServices | None" = None,
    questions: "Sequence[Question]" = (),
    directory: "Path | None" = None,
    unicode_normalise: bool = False,
    notify: "Callable[[str], None] | None" = None,
) -> OpenedMethod:
    """Open the policy or method of that name.

    Args:
        config: the configuration.
        method: ``policy``, or a name in ``METHODS``.
        temperature: temperature of the policy; 0 is greedy.
        as_policy: let a method act in the policy's own environment (its prompt, pool and limits), where the pool holds all
            that it calls: its trajectories are then demonstrations for the policy.
        accounts: accounts that book and limit the calls; None opens new ones.
        services: services of its operators; None builds them. A caller that passes them closes them.
        questions: questions of the rollouts.
        directory: directory of the findings of a method that searches first; None keeps no findings.
        unicode_normalise: let accents, dashes and the like not matter to the score of an answer.
        notify: called with each line of such a search's progress.

    Raises:
        ConfigError: the method does not exist, or the configuration lacks something that it needs.
    """
    from workflow_r1.assembly.environments import build_environment_factory
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services, open_accounts
    from workflow_r1.assembly.tasks import build_environments, build_scorer, build_task, needs_of
    from workflow_r1.methods import MethodContext
    from workflow_r1.methods.method import method_environment
    from workflow_r1.running.parts import train_questions

    accounts = accounts or open_accounts(config.prices, config.budget, timed=True)
    if method == POLICY:
        known = build_operators(config.pool)
        task = build_task(config.chosen_task)
        services = services or build_services(
            config.services, config.pool, operators=known, accounts=accounts, needs=needs_of(task)
        )
        policy, server = open_policy(config, temperature=temperature, accounts=accounts)
        tokens = special_tokens(config.policy)
        return OpenedMethod(
            lambda: policy,
            lambda shared: build_environments(
                task, config.environment, operators=known, services=shared, special_tokens=tokens
            ),
            services,
            build_scorer(config.reward, task, unicode_normalise=unicode_normalise).one,
            accounts,
            server=server,
            count_tokens=None if server is not None else _token_counter(policy),
        )
    chosen = choose_method(config, method)
    operators = pool_of(config, method)
    limits = method_environment(operators)
    if as_policy and set(operators) <= set(config.environment.operators):
        operators, limits = build_operators(config.pool), config.environment
    services = services or build_services(
        config.services, config.pool, names=limits.operators, operators=operators, accounts=accounts
    )

    def make_environments(shared: "OperatorServices") -> "Callable[[Question], QuestionEnvironment]":
        return build_environment_factory(limits, operators=operators, services=shared)

    context = MethodContext(
        services=services,
        operators={name: operators[name] for name in limits.operators},
        make_environment=make_environments(services),
        settings=config.methods,
        questions=questions,
        train_questions=lambda: train_questions(config),
        llm_is_simulated=config.llm.kind == "embedded",
        seed=config.seed,
        world=config.embedded,
        directory=directory,
        concurrency=config.sampling.max_sessions,
        notify=notify or (lambda line: None),
    )
    prepare = chosen.prepare
    return OpenedMethod(
        make_policy=lambda: chosen.make_policy(context),
        make_environments=make_environments,
        services=services,
        score=build_scorer(config.reward, None, unicode_normalise=unicode_normalise).one,
        accounts=accounts,
        search=None if prepare is None else lambda: prepare(context),
    )
