"""One question, asked of a policy or of a fixed workflow, without a terminal."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError
from workflow_r1.nearest import nearest
from workflow_r1.rollout.events import RolloutEvent
from workflow_r1.running.configuration import names_configuration
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.running.policies import POLICY, open_method

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.trajectory import Question, Trajectory


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """All is ready, and the policy gets the question."""

    question: "Question"
    """The question."""
    title: str
    """The title of the configuration."""
    policy: str
    """Name of the policy or method that answers."""
    notes: tuple[str, ...] = ()
    """Notes on this question for a person, such as that the embedded world cannot know it."""
    writes_tags: bool = True
    """False for a task whose actions are JSON or plain text: its turns are not to be read by our grammar."""


FILE_ENDINGS = (".toml", ".json", ".jsonl", ".md", ".txt", ".py", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".gz")
"""Endings that make one word a file's name rather than a question."""
AskEvent = QuestionAsked | RolloutEvent
"""Everything that a watcher of one question may receive."""


def split_question(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """Distinguish a configuration from a question: CONFIG QUESTION, CONFIG alone, or QUESTION alone.

    Args:
        first: the first argument: a preset, a TOML file, a run directory, or the question.
        second: the question, where a configuration came first.

    Returns:
        The configuration's name and the question; None for a missing one.
    """
    return (first, second) if second is not None or names_configuration(first) else (None, first)


def _refuse_path(question: str) -> None:
    """Refuse to answer a path: someone has mistyped it.

    Raises:
        ConfigError: the text is a path, or looks like one, or like a preset.
    """
    from workflow_r1.config import preset_names

    text = question.strip()
    if not text:
        raise ConfigError("expected a question, received an empty text")
    is_word = len(text.split()) == 1 and not text.endswith("?")
    if is_word and (near := nearest(text, preset_names(), cutoff=0.8)):
        raise ConfigError(f"expected a question or a configuration, received {text!r}; did you mean {near!r}?")
    looks_like_path = is_word and ("/" in text or "\\" in text or text.lower().endswith(FILE_ENDINGS))
    if looks_like_path or names_configuration(text):
        found = f"the configuration {text!r}" if names_configuration(text) else f"{text!r}, where nothing lies"
        raise ConfigError(f"expected a question, received {found}; a configuration or run comes before the question")


def ask(
    config: "RunConfig",
    text: str | None = None,
    *,
    method: str = POLICY,
    temperature: float = 0.0,
    seed: int | None = None,
    on_event: Callable[[AskEvent], None] | None = None,
    stop: Stop | None = None,
) -> "Trajectory":
    """Ask one question, or play one instance of another task.

    Args:
        config: configuration of the policy, its operators and its limits.
        text: the question, or the id of a task's instance; None draws a held-out one of the configuration, whose answer is
            then scored.
        method: ``policy``, or the name of a fixed workflow.
        temperature: temperature of the policy; 0 is greedy.
        seed: draws the held-out question, and seeds the sampling.
        on_event: receives the turns as they come.
        stop: lets another thread end it.

    Returns:
        The trajectory. Where a service failed, its stop reason says so and ``error`` says why; it has no answer then.

    Raises:
        ConfigError: a path or a misspelt preset stands where the question is expected.
        UserError: the configuration cannot be used.
        ServiceError: a service refuses, or cannot be reached at the start.
    """
    from workflow_r1.rollout import derive_seed, rollout
    from workflow_r1.running.parts import is_scored, writes_tags
    from workflow_r1.running.services import check_served_policy, check_services
    from workflow_r1.running.simulation import is_simulated, notes_on

    asked = _choose_question(config, text, seed)
    opened = open_method(config, method, temperature=temperature, questions=[asked])
    check_services(config.services, opened.services)
    if method == POLICY:
        check_served_policy(config.policy, config.llm)
    if on_event is not None:
        simulated = is_simulated(config, method, own_questions=text is not None)
        notes = notes_on(config, text if text is None else asked.text, method)
        title = config.titled(simulation=simulated)
        on_event(QuestionAsked(asked, title, opened.policy.name, tuple(notes), writes_tags(config)))
    name = f"ask-{uuid.uuid4().hex[:16]}"

    async def run() -> "Trajectory":
        async with opened:
            return await rollout(
                asked,
                policy=opened.policy,
                environment=opened.make_environment(asked),
                trajectory_id=name,
                group_id=name,
                seed=derive_seed(config.seed if seed is None else seed, "ask", asked.id),
                on_event=on_event,
            )

    trajectory = run_loop(run, stop)
    if is_scored(config, asked) and not trajectory.stop_reason.is_infrastructure:
        return opened.score(trajectory)
    return trajectory


def _choose_question(config: "RunConfig", text: str | None, seed: int | None) -> "Question":
    import random

    from workflow_r1.running.parts import asked_instance, held_out_questions
    from workflow_r1.trajectory import Question

    if text is None:
        held_out = held_out_questions(config, max(1, config.training.evaluation_questions))
        return random.Random(seed).choice(held_out)
    if (instance := asked_instance(config, text.strip())) is not None:
        return instance
    _refuse_path(text)
    return Question(id="asked", text=text.strip(), golden_answers=())
