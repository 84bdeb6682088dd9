"""The simulated parts of a run, and warnings against false readings of the embedded world's answers."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workflow_r1.running.policies import POLICY, pool_of
from workflow_r1.running.policy_fit import unlearnt

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.embedded import EmbeddedConfig


def is_simulated(config: "RunConfig", method: str = POLICY, *, own_questions: bool = False) -> bool:
    """Return True where any part in use is the embedded world's: the questions, the LLM or the search.

    Unlike ``RunConfig.is_simulation``, which reads a configuration alone, this imports the operators to know what they
    need.

    Args:
        config: the configuration.
        method: the method that answers; each has a pool of its own.
        own_questions: True where the questions come from elsewhere than the configuration says, and are real.

    Raises:
        ConfigError: the method does not exist, or an operator or plug-in cannot be used.
    """
    from workflow_r1.assembly.tasks import build_task, needs_of

    needs = {need for operator in pool_of(config, method).values() for need in operator.needs}
    task = build_task(config.chosen_task) if method == POLICY else None
    simulated = bool(config.simulated_services(needs | needs_of(task)))
    if task is not None:
        return simulated or task.is_simulation
    return simulated or (config.data.source == "embedded" and not own_questions)


def notes_on(config: "RunConfig", question: str | None, method: str = POLICY) -> Sequence[str]:
    """Warn against a false reading of the answer to a question of one's own.

    Args:
        config: configuration of the policy that answers.
        question: text of the question; None where the configuration's own is asked.
        method: the method that answers.

    Returns:
        One sentence where the embedded world answers a question that names nothing of it, and one for each part of the
        configuration that the embedded policy has not learnt.
    """
    from workflow_r1.config.run import QUESTIONS

    if config.task != QUESTIONS:
        return ()
    embedded_policy = method == POLICY and config.policy.base_url is None and config.policy.model == "embedded"
    notes = tuple(f"{finding.found}; {finding.remedy}." for finding in unlearnt(config)) if embedded_policy else ()
    if question is None or not (embedded_policy or is_simulated(config, method, own_questions=True)):
        return notes
    names = _names(config.embedded)
    if any(word.casefold() in names for word in re.findall(r"[^\W\d_]+", question)):
        return notes
    return (
        *notes,
        "The question names nothing of the embedded world (a simulation), which knows its own invented names only: the answer "
        "is invented, too. `workflow-r1 ask` without a question asks one that it can answer.",
    )


def _names(world: "EmbeddedConfig") -> frozenset[str]:
    from workflow_r1.assembly.world import embedded_world

    return frozenset(name.casefold() for name in embedded_world(world).entities)
