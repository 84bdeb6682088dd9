"""Trajectories whose LLM service fails three requests in ten: real operators and environments, over HTTP on this machine.

The policy is the embedded world's demonstrator and the LLM its expert, so that one request has one reply and a run with
faults can be compared with one without.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from workflow_r1.embedded import Demonstrator, EmbeddedWorld, SimulatedExpert
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.inference import ChatModel, Endpoint, FailureKind, OpenAIChatConfig, OpenAIChatModel, RoutedChatModel
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout_groups
from workflow_r1.trajectory import StopReason, Trajectory

WORLD = EmbeddedWorld(0)
EXPERT = SimulatedExpert(WORLD)
GROUP_SIZE = 8


def roll_out(chat: ChatModel, num_trajectories: int, on_trajectory=None) -> list[Trajectory]:
    config = EnvironmentConfig(operators=tuple(OPERATORS), prompt_style="brief")
    services = OperatorServices(chat=chat, search=WORLD.search, config=OperatorConfig(search_k=1))
    groups = asyncio.run(
        rollout_groups(
            WORLD.questions("train", num_trajectories // GROUP_SIZE),
            policy=Demonstrator(WORLD),
            make_environment=lambda question: QuestionEnvironment(
                question, config=config, operators=OPERATORS, services=services
            ),
            group_size=GROUP_SIZE,
            seed=3,
            max_concurrency=64,
            on_trajectory=on_trajectory,
        )
    )
    return [trajectory for group in groups for trajectory in group]


def make_chat(server: LoopbackServer, *, max_retries: int, idle: float) -> OpenAIChatModel:
    return OpenAIChatModel(
        OpenAIChatConfig(
            model="expert",
            base_url=server.url,
            send_seed=True,
            concurrency=64,
            max_retries=max_retries,
            backoff_seconds=0.02,
            idle_timeout_seconds=idle,
            timeout_seconds=2.5 * idle,
        )
    )


def plain(trajectory: Trajectory) -> dict:
    """Everything but time and price, with its reward: the client without a meter knows no price, the expert is free."""
    scored = trajectory if trajectory.stop_reason.is_infrastructure else score_trajectory(trajectory)
    dumped = scored.model_dump(exclude={"seconds"})
    for turn in dumped["turns"]:
        for call in turn["calls"]:
            del call["seconds"], call["usage"]["cost"], call["usage"]["paid"]
    return dumped


def check_against(sound: Sequence[Trajectory], got: Sequence[Trajectory], lost_requests: int) -> Counter[StopReason]:
    """Every trajectory either equals the one without faults or ended as an infrastructure failure, one per lost request.

    The answers of one MultiAnswerGenerate are asked for together: two lost requests may end one trajectory.
    """
    assert [trajectory.id for trajectory in got] == [trajectory.id for trajectory in sound]
    failed = 0
    for one, other in zip(got, sound, strict=True):
        if one.stop_reason is StopReason.OPERATOR_FAILED:
            failed += 1
            assert one.error is not None and "after " in one.error
            assert [turn.text for turn in one.turns] == [turn.text for turn in other.turns[: len(one.turns)]]
        else:
            assert plain(one) == plain(other)
    assert failed <= lost_requests <= 3 * failed
    return Counter(trajectory.stop_reason for trajectory in got)


def test_faults_change_no_result_where_the_retries_succeed() -> None:
    sound = roll_out(EXPERT, 48)
    with LoopbackServer(EXPERT, fault_rate=0.3, seed=1) as server:
        chat = make_chat(server, max_retries=12, idle=2.0)
        got = roll_out(chat, 48)
        assert [plain(trajectory) for trajectory in got] == [plain(trajectory) for trajectory in sound]
        assert chat.failures == server.failures
        assert chat.retries == chat.failures
        assert chat.num_replies == server.num_replies == sum(trajectory.usage.llm_calls for trajectory in got)
        assert len(server.injected) >= 9


def test_a_lost_request_ends_its_trajectory_and_is_never_scored() -> None:
    sound = roll_out(EXPERT, 48)
    faults = [fault for fault in Fault if fault not in (Fault.HANG, Fault.DRIP)]
    with LoopbackServer(EXPERT, fault_rate=0.3, faults=faults, seed=2) as server:
        chat = make_chat(server, max_retries=1, idle=5.0)
        got = roll_out(chat, 48)
        stopped = check_against(sound, got, sum((chat.failures - chat.retries).values()))
        assert stopped[StopReason.OPERATOR_FAILED] > 2
        assert stopped[StopReason.ANSWERED] > 20


def test_a_second_endpoint_takes_over() -> None:
    sound = roll_out(EXPERT, 48)
    with LoopbackServer(EXPERT) as one, LoopbackServer(EXPERT) as other:
        chats = [make_chat(server, max_retries=1, idle=5.0) for server in (one, other)]
        route = RoutedChatModel([Endpoint(str(number), chat) for number, chat in enumerate(chats)])
        num_finished = 0

        def stop_in_the_middle(trajectory: Trajectory) -> None:
            nonlocal num_finished
            num_finished += 1
            if num_finished == 10:
                one.stop()

        got = roll_out(route, 48, stop_in_the_middle)
        assert [plain(trajectory) for trajectory in got] == [plain(trajectory) for trajectory in sound]
        assert one.num_replies > 0
        assert route.failovers["0"] > 0
        # Down after three requests in a row: the others in flight still pay, later ones do not.
        assert chats[0].failures.keys() <= {FailureKind.UNREACHABLE, FailureKind.RESET}
        assert route.endpoints[0].is_down


@pytest.mark.slow
def test_two_thousand_trajectories_with_three_requests_in_ten_failing() -> None:
    """Hangs and drips cost their whole timeouts, long enough that a busy machine is not taken for a fault."""
    sound = roll_out(EXPERT, 2000)
    with LoopbackServer(EXPERT, fault_rate=0.3) as server:
        chat = make_chat(server, max_retries=4, idle=4.0)
        got = roll_out(chat, 2000)
        lost = chat.failures - chat.retries
        stopped = check_against(sound, got, sum(lost.values()))
        failed, replies = sum(chat.failures.values()), chat.num_replies
        assert chat.failures == server.failures
        assert chat.num_replies == server.num_replies
        assert set(server.injected) == set(Fault)
        assert failed / (failed + replies) == pytest.approx(0.3, abs=0.03)
        assert stopped[StopReason.ANSWERED] >= 1950
