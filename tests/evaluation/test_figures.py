import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.evaluation.figures import (
    Proportion,
    compute_figures,
    figures_by_class,
    question_class,
    wilson_interval,
)
from workflow_r1.evaluation.usage import OperatorUsage, usage_by_operator
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    Usage,
)


def question(name: str = "q", **metadata: object) -> Question:
    return Question(id=name, text="?", golden_answers=("a",), metadata=metadata)


def trajectory(
    *calls: OperatorCall, right: bool = True, format_reward: float = 0.0, **metadata: object
) -> ScoredTrajectory:
    return ScoredTrajectory(
        id="t",
        group_id="g",
        question=question(**metadata),
        turns=(Turn(index=1, text="", token_ids=(1, 2), logprobs=(0.0, 0.0), well_formed=True, calls=calls),),
        answer="a",
        stop_reason=StopReason.ANSWERED,
        reward=AnswerReward(total=float(right) + format_reward, answer=float(right), format=format_reward, exact_match=float(right), f1=float(right)),
    )  # fmt: skip


def failure(**metadata: object) -> Trajectory:
    return Trajectory(
        id="f", group_id="g", question=question(**metadata), stop_reason=StopReason.OPERATOR_FAILED, error="down"
    )


def test_wilson_interval_of_a_textbook_case() -> None:
    # p = 0.4, n = 10, z = 1.96: centre (0.4 + 0.19208) / 1.38416 = 0.427754, half width
    # 1.96 sqrt(0.024 + 0.009604) / 1.38416 = 0.359297 / 1.38416 = 0.259578.
    assert wilson_interval(4, 10, z=1.96) == pytest.approx((0.168176, 0.687332), abs=2e-6)


def test_wilson_interval_at_the_ends() -> None:
    # At p = 1 the lower end is n / (n + z^2).
    assert wilson_interval(400, 400, z=2.0) == (pytest.approx(400 / 404), 1.0)
    assert wilson_interval(0, 400, z=2.0) == (0.0, pytest.approx(4 / 404))
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_interval_holds_the_rate(a: int, b: int) -> None:
    successes, total = min(a, b), max(a, b)
    low, high = wilson_interval(successes, total)
    assert 0.0 <= low <= high <= 1.0
    if total:
        assert low <= successes / total <= high


def test_wilson_interval_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="successes <= total"):
        wilson_interval(3, 2)


def test_failures_are_counted_and_enter_nothing_else() -> None:
    usage = Usage(llm_calls=1, prompt_tokens=4, cost=0.0, paid=0.0)
    call = OperatorCall(operator="Search", input="x", observation="y", valid=True, usage=usage)
    wrong_name = OperatorCall(operator="Serach", input="x", observation="no such operator", valid=False)
    figures = compute_figures(
        [trajectory(call, call), trajectory(wrong_name, right=False, format_reward=-0.5), failure()]
    )
    assert figures.exact_match == Proportion.of(1, 2)
    assert figures.num_failed == 1
    assert figures.reward == 0.25
    assert figures.well_formed.successes == 1
    assert figures.operator_calls == {"(invalid)": 0.5, "Search": 1.0}
    assert (figures.llm_calls, figures.llm_prompt_tokens, figures.policy_tokens, figures.turns) == (1.0, 4.0, 2.0, 1.0)
    assert figures.stop_reasons == {"answered": 2, "operator_failed": 1}
    assert figures.cost == 0.0


def test_a_cost_is_a_mean_and_unknown_where_one_price_is() -> None:
    def call(cost: float | None) -> OperatorCall:
        usage = Usage(llm_calls=1, cost=cost, paid=0.0)
        return OperatorCall(operator="Custom", input="x", observation="y", valid=True, usage=usage)

    assert compute_figures([trajectory(call(0.25), call(0.5)), trajectory()]).cost == 0.375
    assert compute_figures([trajectory(call(0.25)), trajectory(call(None))]).cost is None


def test_a_policy_behind_a_server_costs_too() -> None:
    own = Usage(llm_calls=1, prompt_tokens=50, cost=0.25, paid=0.25)
    first = trajectory()
    asked = first.model_copy(update={"turns": (first.turns[0].model_copy(update={"usage": own}),)})
    figures = compute_figures([asked, asked])
    assert (figures.cost, figures.llm_calls, figures.operator_calls) == (0.25, 0.0, {})
    assert usage_by_operator([asked, asked]) == {"(policy)": OperatorUsage(calls=2, usage=own + own)}


def test_usage_is_summed_up_by_operator() -> None:
    usage = Usage(llm_calls=2, prompt_tokens=10, stored_calls=1, cost=0.5, paid=0.25)
    custom = OperatorCall(operator="Custom", input="x", observation="y", valid=True, usage=usage, seconds=0.5)
    unknown = OperatorCall(operator="Nope", input="x", observation="y", valid=False)
    by_operator = usage_by_operator([trajectory(custom, unknown), trajectory(custom)])
    assert by_operator == {
        "(invalid)": OperatorUsage(calls=1),
        "Custom": OperatorUsage(calls=2, usage=usage + usage, seconds=1.0),
    }


def test_nothing_scored_is_no_crash() -> None:
    figures = compute_figures([failure()])
    assert (figures.num_failed, figures.exact_match.total, figures.exact_match.rate) == (1, 0, 0.0)
    assert compute_figures([]).turns == 0.0


def test_classes() -> None:
    by_class = figures_by_class(
        [trajectory(kind="one-hop"), trajectory(kind="two-hop", right=False), failure(kind="two-hop")]
    )
    assert list(by_class) == ["one-hop", "two-hop"]
    assert by_class["two-hop"].exact_match == Proportion.of(0, 1)
    assert by_class["two-hop"].num_failed == 1
    assert question_class(question(hops=2)) == "2 hops"
    assert question_class(question(type="bridge")) == "bridge"
    assert question_class(Question(id="q", text="?", golden_answers=(), dataset="nq")) == "nq"
    assert question_class(question()) == "all"
