"""The numbered behaviours of ``rollout.rollout``."""

import asyncio

import pytest
from run_rows import without_times

from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.errors import ServiceTimeoutError, ServiceUnavailableError, UserError
from workflow_r1.operators import OperatorResult, OperatorServices
from workflow_r1.policy.packing import pack
from workflow_r1.rollout import (
    ScriptedPolicy,
    TurnFinished,
    TurnSampled,
    TurnStarted,
    derive_seed,
    rollout,
    rollout_groups,
)
from workflow_r1.trajectory import FinishReason, Question, StopReason

QUESTION = Question(id="q", text="who", golden_answers=("a",))
CALL = "<think> a </think> <tool> Echo: x </tool>"
ANSWER = "<think> b </think> <answer> a </answer>"


class Echo:
    name = "Echo"
    purpose = usage = "echoes"
    arguments = ()

    def __init__(self, error=None):
        self.error = error
        self.inputs = []

    async def __call__(self, input, services):
        self.inputs.append(input)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return OperatorResult(observation=f" Echo({input}) ")


def make_environment(question=QUESTION, operator=None, **config):
    operator = operator or Echo()
    settings = EnvironmentConfig(**{"operators": ("Echo",), "prompt_style": "brief"} | config)
    return QuestionEnvironment(question, config=settings, operators={"Echo": operator}, services=OperatorServices())


def run(policy, environment=None, *, options=None, **config):
    environment = environment or make_environment(**config)
    return asyncio.run(
        rollout(
            QUESTION, policy=policy, environment=environment, trajectory_id="t", group_id="g", seed=5, **options or {}
        )
    )


def columns(trajectory, tokenizer):
    """One line per token: its text, and ``.`` for context or the index of the policy's turn."""
    batch = pack([trajectory])
    tokens = tokenizer.convert_ids_to_tokens(batch.input_ids[0].tolist())
    return [f"{token} {turn or '.'}" for token, turn in zip(tokens, batch.turn_ids[0].tolist(), strict=True)]


def table(text):
    """Read a table of two rows, tokens above turn ids."""
    lines = [line.split() for line in text.strip().splitlines()]
    pairs = [zip(above, below, strict=True) for above, below in zip(lines[::2], lines[1::2], strict=True)]
    return [f"{token} {turn}" for pair in pairs for token, turn in pair]


def test_tokens_and_turn_ids(word_tokenizer):
    trajectory = run(ScriptedPolicy([CALL, ANSWER], tokenizer=word_tokenizer))
    assert columns(trajectory, word_tokenizer) == table("""
        <|user|> Question: who <|end|> <|assistant|>
        .        .         .   .       .
        <think> a </think> <tool> Echo: x </tool> <|end|>
        1       1 1        1      1     1 1       1
        <|user|> <info> Echo(x) </info> <|end|> <|assistant|>
        .        .      .       .       .       .
        <think> b </think> <answer> a </answer> <|end|>
        2       2 2        2        2 2         2
    """)
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert trajectory.answer == "a"
    assert [turn.text for turn in trajectory.turns] == [CALL, ANSWER]
    assert trajectory.turns[0].calls[0].observation.strip() == "Echo(x)"
    assert trajectory.turns[0].observation and not trajectory.turns[1].observation
    assert trajectory.prompt[0].content == "Question: who"
    assert trajectory.seed == 5


def test_a_turn_that_stops_at_its_action_is_closed_by_context(word_tokenizer):
    trajectory = run(ScriptedPolicy([CALL, ANSWER], tokenizer=word_tokenizer, end_token=False))
    assert columns(trajectory, word_tokenizer) == table("""
        <|user|> Question: who <|end|> <|assistant|>
        .        .         .   .       .
        <think> a </think> <tool> Echo: x </tool>
        1       1 1        1      1     1 1
        <|end|> <|user|> <info> Echo(x) </info> <|end|> <|assistant|>
        .       .        .      .       .       .       .
        <think> b </think> <answer> a </answer>
        2       2 2        2        2 2
    """)


def test_a_malformed_turn_is_told_so_and_goes_on(word_tokenizer):
    trajectory = run(ScriptedPolicy(["a b", ANSWER], tokenizer=word_tokenizer))
    first, second = trajectory.turns
    assert (first.well_formed, first.calls, second.well_formed) == (False, (), True)
    assert trajectory.stop_reason is StopReason.ANSWERED


def test_1_prompt_too_long(word_tokenizer):
    policy = ScriptedPolicy([ANSWER], tokenizer=word_tokenizer)
    assert run(policy, max_prompt_tokens=5).stop_reason is StopReason.ANSWERED
    trajectory = run(policy, max_prompt_tokens=4)
    assert trajectory.stop_reason is StopReason.PROMPT_TOO_LONG
    assert (trajectory.turns, len(trajectory.prompt_token_ids)) == ((), 5)


# CALL is 8 tokens with its end, the observation 6, ANSWER 7.


@pytest.mark.parametrize(
    ("budget", "stop_reason", "sizes", "num_called"),
    [
        (21, StopReason.ANSWERED, [(8, 6), (7, 0)], 1),
        (20, StopReason.ANSWERED, [(8, 6), (6, 0)], 1),  # 3: the end-of-turn token is cut off, the answer is whole
        (19, StopReason.MAX_RESPONSE_TOKENS, [(8, 6), (5, 0)], 1),  # 2: the answer is cut off
        (15, StopReason.MAX_RESPONSE_TOKENS, [(8, 6), (1, 0)], 1),
        (14, StopReason.MAX_RESPONSE_TOKENS, [(8, 0)], 1),  # 4: no room for a policy token after the observation
        (9, StopReason.MAX_RESPONSE_TOKENS, [(8, 0)], 1),
        (8, StopReason.MAX_RESPONSE_TOKENS, [(8, 0)], 0),  # 3: the call would never be read, and is not run
        (3, StopReason.MAX_RESPONSE_TOKENS, [(3, 0)], 0),
    ],
)
def test_2_3_4_response_budget(word_tokenizer, budget, stop_reason, sizes, num_called):
    operator = Echo()
    environment = make_environment(operator=operator, max_response_tokens=budget)
    trajectory = run(ScriptedPolicy([CALL, ANSWER], tokenizer=word_tokenizer), environment)
    assert trajectory.stop_reason is stop_reason
    assert [(len(turn.token_ids), len(turn.context_token_ids)) for turn in trajectory.turns] == sizes
    assert len(operator.inputs) == num_called
    assert sum(map(sum, sizes)) <= budget
    assert trajectory.answer == ("a" if stop_reason is StopReason.ANSWERED else None)


def test_3_a_turn_cut_at_the_budget_is_read_as_it_stands(word_tokenizer):
    trajectory = run(ScriptedPolicy([CALL, ANSWER], tokenizer=word_tokenizer), max_response_tokens=19)
    last = trajectory.turns[-1]
    assert (last.finish_reason, last.well_formed) == (FinishReason.LENGTH, False)
    assert last.text.split() == ["<think>", "b", "</think>", "<answer>", "a"]


def test_4_an_observation_that_does_not_fit_is_kept_with_its_call_alone(word_tokenizer):
    trajectory = run(ScriptedPolicy([CALL, ANSWER], tokenizer=word_tokenizer), max_response_tokens=14)
    (turn,) = trajectory.turns
    assert turn.calls[0].observation.strip() == "Echo(x)"
    assert (turn.observation, turn.context_token_ids) == ("", ())


def test_5_without_tokens_the_token_budgets_do_not_apply():
    trajectory = run(ScriptedPolicy([CALL, ANSWER]), max_prompt_tokens=1, max_response_tokens=1)
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert [turn.token_ids for turn in trajectory.turns] == [(), ()]


def test_6_a_failed_operator_ends_the_trajectory_and_keeps_its_turns(word_tokenizer):
    environment = make_environment(operator=Echo(ServiceTimeoutError("no reply in 3 s")))
    trajectory = run(ScriptedPolicy(["a b", CALL], tokenizer=word_tokenizer), environment)
    assert trajectory.stop_reason is StopReason.OPERATOR_FAILED
    assert trajectory.error == "ServiceTimeoutError: no reply in 3 s"
    assert [(turn.text, turn.well_formed) for turn in trajectory.turns] == [("a b", False), (CALL, True)]
    assert trajectory.turns[-1].context_token_ids == ()


def test_6_a_failed_sampler_ends_the_trajectory_and_keeps_its_turns(word_tokenizer):
    script = [CALL, ServiceUnavailableError("gone")]
    trajectory = run(ScriptedPolicy(script, tokenizer=word_tokenizer))
    assert trajectory.stop_reason is StopReason.SAMPLER_FAILED
    assert trajectory.error == "ServiceUnavailableError: gone"
    assert [turn.text for turn in trajectory.turns] == [CALL]


def test_6_any_other_exception_is_raised():
    with pytest.raises(ZeroDivisionError):
        run(ScriptedPolicy([CALL]), make_environment(operator=Echo(ZeroDivisionError())))


def watched(script, **config):
    told = []
    trajectory = run(ScriptedPolicy(script), options={"on_event": told.append}, **config)
    return trajectory, told


def test_7_each_turn_is_told_when_it_begins_is_written_and_is_over():
    trajectory, told = watched([CALL, ANSWER])
    assert [type(event) for event in told] == [TurnStarted, TurnSampled, TurnFinished] * 2
    assert [event.index for event in told if isinstance(event, TurnStarted)] == [1, 2]
    assert [event.sampled.text for event in told if isinstance(event, TurnSampled)] == [CALL, ANSWER]
    assert tuple(event.turn for event in told if isinstance(event, TurnFinished)) == trajectory.turns
    assert all(event.seconds >= 0 for event in told if isinstance(event, TurnSampled))


def test_7_a_written_turn_is_told_before_its_operators_run():
    operator, seen = Echo(), []
    run(
        ScriptedPolicy([CALL, ANSWER]),
        make_environment(operator=operator),
        options={"on_event": lambda event: seen.append((type(event), len(operator.inputs)))},
    )
    assert seen[:3] == [(TurnStarted, 0), (TurnSampled, 0), (TurnFinished, 1)]


def test_7_a_failed_operator_ends_its_turn_and_a_failed_sampler_has_none():
    trajectory, told = watched([CALL], operator=Echo(ServiceTimeoutError("slow")))
    assert [type(event) for event in told] == [TurnStarted, TurnSampled, TurnFinished]
    assert told[-1].turn == trajectory.turns[0]
    _, told = watched([ServiceUnavailableError("down")])
    assert [type(event) for event in told] == [TurnStarted]


def test_7_who_watches_may_end_the_rollout():
    def leave(event):
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        run(ScriptedPolicy([CALL, ANSWER]), options={"on_event": leave})


def test_8_a_rollout_lowers_the_response_budget_and_never_raises_it(word_tokenizer):
    def size(budget):
        policy = ScriptedPolicy([ANSWER], tokenizer=word_tokenizer)
        return run(policy, options={"max_response_tokens": budget}, max_response_tokens=5).num_policy_tokens

    assert [size(budget) for budget in (None, 3, 100)] == [5, 3, 5]


def by_question(messages):
    """A script in which questions end differently, after different numbers of turns."""
    text = messages[0].content
    num_turns = len(messages) // 2
    if "fails" in text:
        return ServiceUnavailableError("gone") if num_turns == 1 else CALL
    return CALL if num_turns < text.count("!") else ANSWER


def questions(*texts):
    return [Question(id=f"q{index}", text=text, golden_answers=("a",)) for index, text in enumerate(texts)]


def run_groups(asked, policy, **arguments):
    settings = {"group_size": 3, "seed": 1, "max_concurrency": 100, "make_environment": make_environment} | arguments
    return asyncio.run(rollout_groups(asked, policy=policy, **settings))


def test_groups_keep_their_order_and_one_failure_harms_no_other():
    done = []
    asked = questions("a!!!", "fails", "b", "c!")
    groups = run_groups(asked, ScriptedPolicy(by_question), on_trajectory=done.append)
    assert [[t.question.id for t in group] for group in groups] == [[f"q{index}"] * 3 for index in range(4)]
    assert [{t.stop_reason.value for t in group} for group in groups] == [
        {"answered"},
        {"sampler_failed"},
        {"answered"},
        {"answered"},
    ]
    assert [len(group[0].turns) for group in groups] == [4, 1, 1, 2]
    assert done[0].question.id != "q0"  # It finished in another order.
    assert sorted(t.id for t in done) == sorted(t.id for group in groups for t in group)


def strip_times(groups):
    return [[without_times(trajectory) for trajectory in group] for group in groups]


@pytest.mark.parametrize("max_concurrency", [1, 2, 5])
def test_concurrency_changes_nothing(max_concurrency):
    asked = questions("a!!", "fails", "b", "c!")
    whole = run_groups(asked, ScriptedPolicy(by_question))
    narrow = run_groups(asked, ScriptedPolicy(by_question), max_concurrency=max_concurrency)
    assert strip_times(narrow) == strip_times(whole)


def test_max_concurrency_bounds_the_open_sessions():
    live, most = 0, 0

    class Counting(Echo):
        async def __call__(self, input, services):
            nonlocal live, most
            live += 1
            most = max(most, live)
            await asyncio.sleep(0)
            live -= 1
            return OperatorResult(observation="x")

    operator = Counting()
    run_groups(
        questions("a!", "b!!", "c!"),
        ScriptedPolicy(by_question),
        max_concurrency=2,
        make_environment=lambda question: make_environment(question, operator),
    )
    assert most == 2


def test_seeds_come_from_seed_question_and_member_alone():
    alone, first = questions("a", "b")
    seeds = {
        t.question.id + str(index): t.seed
        for group in run_groups([first, alone], ScriptedPolicy(by_question))
        for index, t in enumerate(group)
    }
    assert seeds["q02"] == derive_seed(1, "q0", 2)
    (group,) = run_groups([alone], ScriptedPolicy(by_question))
    assert [t.seed for t in group] == [seeds["q00"], seeds["q01"], seeds["q02"]]


def test_shares_are_the_groups_of_the_whole_list():
    asked = questions("a", "b", "a", "c", "a")
    whole = strip_times(run_groups(asked, ScriptedPolicy(by_question)))
    for share in ([0, 2, 4], [1, 3], []):
        assert strip_times(run_groups(asked, ScriptedPolicy(by_question), share=share)) == [whole[i] for i in share]


def test_ids_are_unique_and_those_of_another_seed_differ():
    asked = questions("a", "b") * 2
    policy = ScriptedPolicy(by_question)
    ids = [t.id for seed in (1, 2) for group in run_groups(asked, policy, seed=seed) for t in group]
    assert len(set(ids)) == len(ids) == 24
    group_ids = {t.group_id for group in run_groups(asked, policy) for t in group}
    assert len(group_ids) == 4


def test_a_programming_error_is_raised_alone():
    def make(question):
        return make_environment(question, Echo(UserError("no key") if question.id == "q1" else None))

    with pytest.raises(UserError, match="no key"):
        run_groups(questions("a!", "b!", "c!"), ScriptedPolicy(by_question), make_environment=make)
