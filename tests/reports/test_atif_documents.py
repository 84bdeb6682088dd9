"""Trajectories as documents of ATIF, whose own models check each of them."""

import pytest
from written_trajectories import written

from workflow_r1.trajectory import Message, StopReason, Usage

atif = pytest.importorskip("atif")

from workflow_r1.reports.atif_documents import SCHEMA, make_document  # noqa: E402

NOTHING = Usage()
ENSEMBLE = "ScEnsemble: <query>Who made Jaws?</query><solution>Lucas</solution><solution>Spielberg</solution>"


def make(*turns, **fields):
    return written("Who made Jaws?", *turns, golden=("Spielberg",), **fields)


def with_usage(trajectory, *, of_turns=NOTHING, of_calls=NOTHING, **of_turn):
    turns = tuple(
        turn.model_copy(
            update={"usage": of_turns, "calls": tuple(c.model_copy(update={"usage": of_calls}) for c in turn.calls)}
            | of_turn
        )
        for turn in trajectory.turns
    )
    return trajectory.model_copy(update={"turns": turns})


def document(trajectory, **options):
    made = make_document(trajectory, **options)
    assert atif.Trajectory.model_validate(made.to_json_dict()) == made
    assert made.schema_version == SCHEMA
    return made


def test_turns_calls_observations_and_the_llm_behind_a_call():
    trajectory = with_usage(
        make(("Choose.", ENSEMBLE, "Reasoning: ...\nAnswer: Spielberg"), ("So.", "Spielberg"),
             prompt=(Message(role="system", content="s"), Message(role="user", content="u"))),
        of_turns=Usage(llm_calls=1, prompt_tokens=50, completion_tokens=7, cost=0.25),
        of_calls=Usage(llm_calls=2, prompt_tokens=30, completion_tokens=5, cost=0.5),
    )  # fmt: skip
    made = document(trajectory, llm="qwen", currency="USD")
    system, user, first, last = made.steps
    assert [(step.source, step.message) for step in (system, user)] == [("system", "s"), ("user", "u")]
    assert (first.source, first.message, first.reasoning_content, first.llm_call_count) == ("agent", "", "Choose.", 1)
    (call,) = first.tool_calls
    assert (call.function_name, call.arguments) == (
        "ScEnsemble", {"query": "Who made Jaws?", "solution": ["Lucas", "Spielberg"]},
    )  # fmt: skip
    (result,) = first.observation.results
    assert (result.source_call_id, result.content) == (call.tool_call_id, "Reasoning: ...\nAnswer: Spielberg")
    (sub,) = made.subagent_trajectories
    assert result.subagent_trajectory_ref[0].trajectory_id == sub.trajectory_id == "t/call-1-1"
    assert (sub.agent.name, sub.agent.model_name, sub.steps[1].llm_call_count) == ("ScEnsemble", "qwen", 2)
    assert (sub.steps[1].metrics.prompt_tokens, sub.steps[1].metrics.cost_usd) == (30, 0.5)
    assert (last.message, last.reasoning_content, last.tool_calls) == ("Spielberg", "So.", None)
    assert (made.final_metrics.total_prompt_tokens, made.final_metrics.total_completion_tokens) == (100, 14)
    assert made.final_metrics.total_cost_usd == 1.0
    assert (made.extra["outcome"], made.extra["reward"]["total"]) == ("right", 1.0)


def test_tokens_that_a_service_did_not_count_are_left_out():
    counted, uncounted = Usage(llm_calls=1, prompt_tokens=50, completion_tokens=7), Usage(llm_calls=2)
    trajectory = make(("Choose.", ENSEMBLE, "Reasoning: ...\nAnswer: Spielberg"), ("So.", "Spielberg"))
    made = document(with_usage(trajectory, of_turns=counted, of_calls=uncounted))
    (sub,) = made.subagent_trajectories
    assert (sub.steps[1].metrics.prompt_tokens, sub.steps[1].metrics.completion_tokens) == (None, None)
    assert sub.extra == {"llm_calls": 2, "unreported_calls": 2}
    assert made.final_metrics.total_prompt_tokens == 100
    first, last = with_usage(trajectory, of_turns=counted).turns
    mixed = trajectory.model_copy(update={"turns": (first, last.model_copy(update={"usage": uncounted}))})
    made = document(mixed)
    assert [step.metrics.prompt_tokens for step in made.steps if step.metrics] == [50, None]
    assert (made.final_metrics.total_prompt_tokens, made.final_metrics.total_completion_tokens) == (None, None)


def test_money_in_another_currency_is_not_called_dollars():
    used = Usage(llm_calls=1, cost=0.5)
    made = document(
        with_usage(make(("A.", "AnswerGenerate: Who?", "Answer: x"), ("So.", "x")), of_calls=used), currency="EUR"
    )
    assert made.final_metrics.total_cost_usd is None
    assert (made.extra["cost"], made.extra["currency"]) == (0.5, "EUR")
    assert made.subagent_trajectories[0].extra["cost"] == 0.5


def test_tokens_of_a_policy_in_this_process():
    trajectory = with_usage(
        make(("A.", "Search: Jaws", "[1] Jaws"), ("So.", "x"), prompt_token_ids=(1, 2)),
        token_ids=(3, 4), logprobs=(-0.5, -0.25), context_token_ids=(5,),
    )  # fmt: skip
    first, second = document(trajectory, with_tokens=True).steps[1:]
    assert (first.metrics.prompt_token_ids, first.metrics.completion_token_ids) == ([1, 2], [3, 4])
    assert second.metrics.prompt_token_ids == [1, 2, 3, 4, 5]
    assert (second.metrics.prompt_tokens, second.metrics.logprobs) == (5, [-0.5, -0.25])
    assert document(trajectory).steps[1].metrics.completion_token_ids is None
    assert document(trajectory).subagent_trajectories is None


def test_turns_without_an_llm_and_turns_that_break_the_grammar():
    made = document(make((None, "I cannot say"), ("So.", "x")))
    broken, last = made.steps[1:]
    assert (broken.message, broken.tool_calls, broken.llm_call_count, broken.metrics) == ("I cannot say", None, 0, None)
    # A script's thought is no reasoning of an LLM; the text has it.
    assert (last.message, last.reasoning_content, last.extra["text"]) == (
        "x",
        None,
        "<think>So.</think><answer>x</answer>",
    )


def test_a_failure_keeps_its_error_and_has_no_reward():
    made = document(written("Who?", ("A.", "Search: Jaws"), stop_reason=StopReason.OPERATOR_FAILED, error="down"))
    assert (made.extra["outcome"], made.extra["error"], made.extra["reward"]) == ("failed", "down", None)
    assert made.steps[1].tool_calls[0].arguments == {"input": "Jaws"}
    assert made.steps[1].observation is None
