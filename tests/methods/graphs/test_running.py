import asyncio

from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.evaluation import evaluate
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.methods.graphs import GraphPolicy, read_graph
from workflow_r1.methods.method import method_environment
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.trajectory import Message, Question, ScoredTrajectory

ROME = Question(id="q", text="What is the capital of Italy?", golden_answers=("Rome",))

GRAPH = """
{"nodes": [
  {"name": "drawn", "operator": "MultiAnswerGenerate", "arguments": {"question": "{question}"}},
  {"name": "first", "operator": "AnswerGenerate", "arguments": {"question": "{question}"}},
  {"name": "pick", "operator": "ScEnsemble",
   "arguments": {"query": "{question}", "solution": ["{first}", "{drawn.answers}"]}}
 ], "output": "{pick}"}
"""


def test_graph_acts_in_an_environment_like_any_policy() -> None:
    def reply(messages: tuple[Message, ...]) -> str:
        answer = "Rome" if "<solution>" in messages[0].content else "Milan"
        return f"<reasoning>so</reasoning><answer>{answer}</answer>"

    chat = ScriptedChatModel(reply)
    services = OperatorServices(chat=chat)

    def make_environment(question: Question) -> Environment:
        return QuestionEnvironment(
            question, config=method_environment(OPERATORS), operators=OPERATORS, services=services
        )

    policy = GraphPolicy(read_graph(GRAPH, OPERATORS), OPERATORS)
    result = asyncio.run(evaluate([ROME], policy=policy, make_environment=make_environment))
    (trajectory,) = result.trajectories
    assert isinstance(trajectory, ScoredTrajectory)
    assert (trajectory.policy, trajectory.answer, trajectory.reward.exact_match) == ("graph", "Rome", 1.0)
    assert [[call.operator for call in turn.calls] for turn in trajectory.turns] == [
        ["MultiAnswerGenerate", "AnswerGenerate"],
        ["ScEnsemble"],
        [],
    ]
    assert trajectory.usage.llm_calls == 5
    assert chat.requests[-1].messages[0].content.count("<solution>Milan</solution>") == 4
