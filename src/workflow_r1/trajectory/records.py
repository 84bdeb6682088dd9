"""The records that cross a file, a process or the network: question, turn, trajectory and its score.

Each stage of the path returns a new type: a ``Trajectory`` never has a reward, a ``ScoredTrajectory`` always has one.
"""

from array import array
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

SCHEMA_VERSION = 1
"""Version of the trajectory rows in JSONL files; a file of another version is refused."""


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused."""

    # Infinities as text: plain JSON has none, and null would not be read back as a float.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class StopReason(StrEnum):
    """Reason for the end of a trajectory."""

    ANSWERED = "answered"
    """The policy wrote an ``<answer>``."""
    DONE = "done"
    """The task's episode is over."""
    MAX_OPERATOR_CALLS = "max_operator_calls"
    """The budget of operator calls was used up."""
    MAX_TURNS = "max_turns"
    """The budget of turns was used up (malformed turns call no operator but count here)."""
    MAX_RESPONSE_TOKENS = "max_response_tokens"
    """Policy and observation tokens together reached the response budget."""
    CONTEXT_FULL = "context_full"
    """The policy's model takes no longer context: it has no room for another turn.

    This is the policy's outcome, also where a server reports it.
    """
    CONTENT_REFUSED = "content_refused"
    """The policy's server refuses, by its rules on content, the context that the policy's own turns stand in."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The prompt alone exceeds its budget; no turn was sampled. Left out of the loss."""
    OPERATOR_FAILED = "operator_failed"
    """An operator's service failed after its retries: infrastructure, left out of statistics and loss."""
    SAMPLER_FAILED = "sampler_failed"
    """The policy's own sampler or server failed: infrastructure, left out of statistics and loss."""
    TASK_FAILED = "task_failed"
    """The task itself failed: a service that it needs, or a reply that did not come in time. Infrastructure, left out of
    statistics and loss."""

    @property
    def is_infrastructure(self) -> bool:
        """True where the policy is not to blame: such a trajectory is never scored or trained on."""
        # Deviation: infrastructure failures are no wrong answers; the paper says nothing of them.
        return self in (
            StopReason.OPERATOR_FAILED,
            StopReason.SAMPLER_FAILED,
            StopReason.TASK_FAILED,
            StopReason.PROMPT_TOO_LONG,
        )


class FinishReason(StrEnum):
    """Reason for the end of a turn's sampling."""

    STOP = "stop"
    """The end-of-turn token, or the end of a complete action."""
    LENGTH = "length"
    """The token budget of the turn."""


class Message(Record):
    """One chat message."""

    role: str
    """``system``, ``user`` or ``assistant``."""
    content: str
    """Plain text."""


class Question(Record):
    """A question with its golden answers."""

    id: str
    """Unique in its file; ``dataset/id`` where datasets are mixed."""
    text: str
    """The question itself."""
    golden_answers: tuple[str, ...]
    """Every accepted answer; empty where no answer is known (``ask``)."""
    dataset: str = ""
    """Benchmark or file that it came from; with ``split`` it names where figures belong."""
    split: str = ""
    """``train``, ``dev``, ``test`` or a name of the file's own."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the file, e.g. ``hops`` or ``type``."""


def _is_none(value: object) -> bool:
    return value is None


def _is_zero(value: object) -> bool:
    return value == 0


def _unstated_cost(given: dict[str, Any]) -> float | None:
    """Return None where there were calls, since their price is unknown; without calls there was no cost."""
    return None if given.get("llm_calls") or given.get("searches") else 0.0


def _calls_without_tokens(given: dict[str, Any]) -> int:
    """Count the calls of a service that does not count tokens: every request has at least one."""
    return 0 if given.get("prompt_tokens") else int(given.get("llm_calls", 0))


class Usage(Record):
    """Usage of LLM and search services by some calls, in the services' own figures."""

    llm_calls: int = 0
    """Replies from an LLM: from its service, or from the store of calls."""
    prompt_tokens: int = 0
    """Tokens sent, as the service counts them."""
    completion_tokens: int = 0
    """Tokens received, as the service counts them."""
    searches: int = 0
    """Searches done: by their service, or from the store of calls."""
    cost: float | None = Field(default_factory=_unstated_cost)
    """Price of all of them in the configuration's currency, paid or not; None where a price is unknown."""
    stored_calls: int = 0
    """Number of ``llm_calls`` that the store of calls answered."""
    stored_tokens: int = 0
    """Prompt and completion tokens of ``stored_calls``."""
    stored_searches: int = 0
    """Number of ``searches`` that the store of calls answered."""
    paid: float | None = Field(default_factory=_unstated_cost)
    """The part of ``cost`` that was not answered from the store; None where a price is unknown."""
    unreported_calls: int = Field(default_factory=_calls_without_tokens, exclude_if=_is_zero)
    """Number of ``llm_calls`` for which the service gave no token figures: the tokens of all are then unknown."""

    @property
    def tokens(self) -> int | None:
        """Tokens sent and received; None where a service did not count them."""
        return None if self.unreported_calls else self.prompt_tokens + self.completion_tokens

    def without_zeros(self) -> dict[str, Any]:
        """Return the figures that are not 0, unknown prices among them."""
        return {name: value for name, value in self.model_dump().items() if value != 0}

    def __add__(self, other: "Usage") -> "Usage":
        """Add two usages field by field; a sum with an unknown price is unknown."""
        return Usage(
            llm_calls=self.llm_calls + other.llm_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            searches=self.searches + other.searches,
            cost=_add_money(self.cost, other.cost),
            stored_calls=self.stored_calls + other.stored_calls,
            stored_tokens=self.stored_tokens + other.stored_tokens,
            stored_searches=self.stored_searches + other.stored_searches,
            paid=_add_money(self.paid, other.paid),
            unreported_calls=self.unreported_calls + other.unreported_calls,
        )


def _add_money(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


class OperatorCall(Record):
    """One operator call of a turn and its observation."""

    operator: str
    """Name as the policy wrote it (it may name no operator at all)."""
    input: str
    """Text between the colon and ``</tool>``, stripped."""
    observation: str
    """The operator's text, already neutralised and cut to its budget."""
    valid: bool
    """False where the operator does not exist or its arguments were wrong: the policy's mistake."""
    usage: Usage = Usage()
    """LLM use of this call."""
    seconds: float = 0.0
    """Wall time of this call."""
    reward: float | None = Field(default=None, allow_inf_nan=False, exclude_if=_is_none)
    """The operator's score of this call; None where it scores none."""


class Turn(Record):
    """One think-and-act turn: the policy's text and the observation after it."""

    index: int
    """1, 2, ... within the trajectory; the turn id of its tokens."""
    text: str
    """Decoded text of the policy's tokens, without the end-of-turn token."""
    token_ids: tuple[int, ...] = ()
    """Exactly the tokens that were sampled, the end-of-turn token included; empty for a chat server."""
    logprobs: tuple[float, ...] = ()
    """The sampler's log-probability of each of ``token_ids``, in nats, of the distribution sampled from; float32 numbers."""
    finish_reason: FinishReason = FinishReason.STOP
    """Reason for the end of sampling."""
    well_formed: bool
    """True where the turn follows the grammar: one think, then exactly one action."""
    calls: tuple[OperatorCall, ...] = ()
    """The operator calls, in the order in which the policy wrote them."""
    observation: str = ""
    """Content of the message that came back; empty after the last turn."""
    context_token_ids: tuple[int, ...] = ()
    """Tokens between this turn and the next: observation and chat template. Never trained on."""
    usage: Usage = Usage()
    """Usage of writing the turn where the policy is behind a chat server; zeros for a policy in this process."""
    policy_version: int | None = None
    """Optimiser steps of the weights that wrote the turn, where they may change within a trajectory; None is the trajectory's."""
    # Left out of a row where it is None: rows of questions stay as they were.
    reward: float | None = Field(default=None, allow_inf_nan=False, exclude_if=_is_none)
    """Reward for this turn: the task's own, or the sum of the scores of its operator calls; None where there is neither."""

    @field_validator("logprobs")
    @classmethod
    def _round_to_float32(cls, logprobs: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(array("f", logprobs))

    @field_serializer("logprobs", when_used="json")
    def _shorten(self, logprobs: tuple[float, ...]) -> tuple[float, ...]:
        # Nine digits tell every float32 from its neighbours; as a float64 it has seventeen.
        return tuple(float(f"{logprob:.9g}") for logprob in logprobs)


class Ending(Record):
    """The end of an episode, as its task judges it."""

    success: bool | None = None
    """The policy reached the goal; None where the task does not say."""
    parts: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    """Named figures of the outcome."""


class Trajectory(Record):
    """One rollout: prompt, turns, and the reason for its end."""

    schema_version: int = SCHEMA_VERSION
    """Version of this row."""
    id: str
    """Unique within the run."""
    group_id: str
    """Trajectories of one group answer the same question under the same policy."""
    question: Question
    """The question that was asked."""
    policy: str = ""
    """Name of the policy that was sampled."""
    policy_version: int = 0
    """Number of optimiser steps that the policy had taken."""
    step: int | None = None
    """Training step that it was sampled for; None outside of training, and in files of earlier versions."""
    seed: int = 0
    """Seed of all sampling in this trajectory."""
    prompt: tuple[Message, ...] = ()
    """The messages before the first turn."""
    prompt_token_ids: tuple[int, ...] = ()
    """The prompt as tokens; empty for a chat server."""
    turns: tuple[Turn, ...] = ()
    """Turns in order."""
    answer: str | None = None
    """Content of the policy's own ``<answer>``; None if it gave none."""
    stop_reason: StopReason
    """Reason for the end of the trajectory."""
    error: str | None = None
    """Reported error, where ``stop_reason`` is an infrastructure failure, a full context or a refused content."""
    seconds: float = 0.0
    """Wall time from prompt to end."""
    ending: Ending | None = Field(default=None, exclude_if=_is_none)
    """The task's own judgement, where its episode came to an end; None where a budget or the infrastructure ended it, and
    for questions, whose answers are judged by their golden answers."""

    @property
    def turn_rewards(self) -> float:
        """Sum of the task's own rewards over the turns."""
        return sum(turn.reward for turn in self.turns if turn.reward is not None)

    @property
    def num_policy_tokens(self) -> int:
        """Tokens that the policy wrote."""
        return sum(len(turn.token_ids) for turn in self.turns)

    @property
    def turn_versions(self) -> tuple[int, ...]:
        """Optimiser steps of the weights that wrote each turn."""
        return tuple(self.policy_version if turn.policy_version is None else turn.policy_version for turn in self.turns)

    @property
    def policy_usage(self) -> Usage:
        """Usage of the policy's own server."""
        return sum((turn.usage for turn in self.turns), start=Usage())

    @property
    def policy_tokens(self) -> tuple[int, int]:
        """Tokens that the policy read and wrote: for turns whose server counts its calls the server's own figures, which
        hold the whole context of each turn; for turns in this process each token of the context once.
        """
        served = [turn.usage for turn in self.turns if turn.usage.llm_calls]
        own = [turn for turn in self.turns if not turn.usage.llm_calls]
        read = sum(usage.prompt_tokens for usage in served)
        if own or not served:
            read += len(self.prompt_token_ids) + sum(len(turn.context_token_ids) for turn in self.turns)
        return read, sum(usage.completion_tokens for usage in served) + sum(len(turn.token_ids) for turn in own)

    @property
    def usage(self) -> Usage:
        """LLM use of all operator calls."""
        return sum((call.usage for turn in self.turns for call in turn.calls), start=Usage())


class AnswerReward(Record):
    """Reward of an answer to a question with its breakdown, as in the paper; see ``rewards.score``."""

    total: float
    """``answer + format``: the reward that the advantage is computed from."""
    answer: float
    """1 right, 0 wrong, -1 no answer."""
    format: float
    """0 well formed, -0.5 otherwise."""
    exact_match: float
    """1 if the normalised answer equals any golden answer."""
    f1: float
    """Token F1, best over the golden answers."""

    @property
    def success(self) -> bool:
        """True where the answer is right."""
        return self.exact_match == 1.0

    @property
    def parts(self) -> dict[str, float]:
        """The breakdown by name."""
        return {"answer": self.answer, "format": self.format, "exact_match": self.exact_match, "f1": self.f1}


class TaskReward(Record):
    """Reward of a trajectory of any task."""

    total: float = Field(allow_inf_nan=False)
    """The reward that the advantage is computed from."""
    success: bool | None
    """The policy reached the goal; None where the task does not say."""
    parts: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    """Named figures that explain the total or the outcome; ``exact_match`` and ``f1`` among them where answers are
    compared with golden answers."""


Reward = AnswerReward | TaskReward
"""A reward: all have ``total``, ``success`` and ``parts``, and generic code reads nothing else."""


def compares_answers(reward: Reward) -> bool:
    """Return True where an answer was compared with golden ones, whatever the total is made of."""
    return {"exact_match", "f1"} <= reward.parts.keys()


class ScoredTrajectory(Trajectory):
    """A trajectory with its reward. Infrastructure failures have none: they stay plain ``Trajectory``."""

    reward: Reward
    """The score and its parts."""

    @classmethod
    def of(cls, trajectory: Trajectory, reward: Reward) -> Self:
        """Return a trajectory with its reward."""
        fields = {name: getattr(trajectory, name) for name in Trajectory.model_fields}
        return cls(**fields, reward=reward)
