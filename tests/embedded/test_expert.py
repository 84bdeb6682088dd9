"""The simulated expert: it understands the operators' real requests, and errs as often as it says."""

import asyncio
from dataclasses import replace

import pytest

from workflow_r1.embedded import EmbeddedWorld, ExpertRates, SimulatedExpert
from workflow_r1.embedded.language import Chain, write_chain
from workflow_r1.inference import ChatRequest
from workflow_r1.methods.expert_workflow import NEXT_QUERY
from workflow_r1.methods.operators import direct, read_choice, vote_for_best
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.trajectory import Message

CERTAIN = ExpertRates(answer=(1,) * 4, sample=(1,) * 4, direct=(1,) * 4, revise=(1,) * 4, read=1, review=1, tie=1)
HOPELESS = ExpertRates(answer=(0,) * 4, sample=(0,) * 4, direct=(0,) * 4, revise=(0,) * 4, read=0, review=1, tie=0)


@pytest.fixture(scope="module")
def world() -> EmbeddedWorld:
    return EmbeddedWorld(5)


def call(operator: str, text: str, expert: SimulatedExpert) -> str:
    services = OperatorServices(chat=expert, search=expert.world.search, config=OperatorConfig(search_k=1))
    result = asyncio.run(OPERATORS[operator](text, services))
    assert result.valid
    return result.observation


def ask(expert: SimulatedExpert, text: str, *, temperature: float = 0.0, sample_index: int = 0) -> str:
    messages = (Message(role="user", content=text),)
    request = ChatRequest(messages, temperature=temperature, sample_index=sample_index)
    return asyncio.run(expert(request)).text


def test_every_operator_of_the_pool_is_understood(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world, CERTAIN)
    film = world.by_kind["train", "film"][0]
    director = world.entities[film].facts["director"]
    question = f"Who directed {film}?"
    other = world.by_kind["train", "person"][0]
    assert call("AnswerGenerate", question, expert).endswith(f"Answer: {director}")
    assert call("MultiAnswerGenerate", question, expert) == "\n".join(f"[Answer {i}] {director}" for i in (1, 2, 3))
    solutions = "".join(f"<solution>{name}</solution>" for name in (other, director, director))
    assert call("ScEnsemble", f"<query>{question}</query>{solutions}", expert).endswith(f"Answer: {director}")
    assert "1) Who directed" in call("PromptOptimizer", question, expert)
    right = f"<question>{question}</question><solution>{director}</solution>"
    wrong = f"<question>{question}</question><solution>{other}</solution>"
    assert call("Review", right, expert) == "Feedback: The solution looks right."
    assert call("Review", wrong, expert) == "Feedback: The solution is wrong."
    assert call("Revise", f"{wrong}<feedback>The solution is wrong.</feedback>", expert) == f"Answer: {director}"
    assert call("Revise", f"{wrong}<feedback>It looks right.</feedback>", expert) == f"Answer: {other}"
    task = "<task>Which is earlier, 1951 or 1937?</task><instruction>Give the year.</instruction>"
    assert call("Custom", task, expert) == "Answer: 1937"
    assert call("Search", film, expert).startswith(f"[1] {film}:")


@pytest.mark.parametrize(("hops", "rate"), [(1, 0.78), (2, 0.30), (3, 0.16)])
def test_it_is_right_as_often_as_its_rates_say(world: EmbeddedWorld, hops: int, rate: float) -> None:
    expert = SimulatedExpert(world)
    relations = ("star", "spouse", "birthplace")[:hops]
    right = total = 0
    for split in ("train", "evaluation"):
        for film in world.by_kind[split, "film"]:
            chain = Chain(film, relations)
            reply = ask(expert, f"<question>{write_chain(chain)}</question>")
            right += f"<answer>{world.answer(chain)}</answer>" in reply
            total += 1
    # 480 questions: three standard errors are at most 0.07.
    assert right / total == pytest.approx(rate, abs=0.07)


def test_asked_again_it_says_the_same_but_samples_differ(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world)
    requests = [f"<question>Who directed {film}?</question>" for film in world.by_kind["train", "film"]]
    assert [ask(expert, r) for r in requests] == [ask(SimulatedExpert(EmbeddedWorld(5)), r) for r in requests]
    first = [ask(expert, r, temperature=0.7, sample_index=0) for r in requests]
    second = [ask(expert, r, temperature=0.7, sample_index=1) for r in requests]
    assert first != second


def test_a_mistake_is_of_the_right_kind_and_never_the_truth(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world, HOPELESS)
    for film in world.by_kind["train", "film"][:100]:
        reply = ask(expert, f"<question>Who directed {film}?</question>")
        answer = reply.split("<answer>")[1].removesuffix("</answer>")
        assert world.entities[answer].kind == "person"
        assert answer != world.entities[film].facts["director"]


def test_facts_in_the_request_are_used(world: EmbeddedWorld) -> None:
    rates = ExpertRates(answer=(0,) * 4, sample=(0,) * 4, read=1)
    film = world.by_kind["train", "film"][0]
    text = f"{film} is a film with director Tonuda. Who directed {film}?"
    assert "<answer>Tonuda</answer>" in ask(SimulatedExpert(world, rates), f"<question>{text}</question>")


def test_a_plan_makes_several_hops_as_easy_as_one_after_the_other(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world)
    plain = planned = 0
    films = world.by_kind["train", "film"] + world.by_kind["evaluation", "film"]
    for film in films:
        chain = Chain(film, ("director", "birthplace"))
        truth = f"<answer>{world.answer(chain)}</answer>"
        question = write_chain(chain)
        plan = call("PromptOptimizer", question, expert).removeprefix("Refined query: ")
        plain += truth in ask(expert, f"<question>{question}</question>")
        planned += truth in ask(expert, f"<question>{plan}</question>")
    assert planned / len(films) == pytest.approx(0.78**2, abs=0.08)
    assert planned > plain


@pytest.mark.parametrize(
    "text", ["", "hello", "<question></question>", "<solution>x</solution>", "<question>" * 3, "\x00"]
)
def test_it_replies_to_anything(world: EmbeddedWorld, text: str) -> None:
    assert ask(SimulatedExpert(world), text)


# ------------------------------------------------------------------------------------- requests of the compared methods


def test_a_direct_request_is_answered_bluntly_however_it_is_written(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world)
    services = OperatorServices(chat=expert)
    for film in world.by_kind["train", "film"][:100]:
        question = f"Who directed {film}?"
        bare = ask(expert, f"{question}\n\nGive the answer alone.")
        assert asyncio.run(direct(question, services)).observation == f"Answer: {bare[8:-9]}"


def test_votes_name_the_right_candidate_as_often_as_its_rate_says(world: EmbeddedWorld) -> None:
    services = OperatorServices(chat=SimulatedExpert(world))
    films = world.by_kind["train", "film"] + world.by_kind["evaluation", "film"]
    people = world.by_kind["train", "person"]
    right = right_last = 0
    for number, film in enumerate(films):
        truth = world.entities[film].facts["director"]
        others = [name for name in people[number % 300 : number % 300 + 3] if name != truth][:2]
        for place in (0, 2):
            candidates = [*others[:place], truth, *others[place:]]
            tagged = "".join(f"<candidate>{name}</candidate>" for name in candidates)
            call = vote_for_best(f"<question>Who directed {film}?</question>{tagged}", services)
            chosen = read_choice(asyncio.run(call).observation)
            right += chosen == place
            right_last += place == 2 and chosen == 2
    # 480 votes in each place: three standard errors are at most 0.07.
    assert right / len(films) / 2 == pytest.approx(ExpertRates().vote, abs=0.05)
    assert right_last / len(films) == pytest.approx(ExpertRates().vote, abs=0.07)


def test_what_stands_before_a_question_is_read_as_facts_and_not_as_the_question(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world, ExpertRates(answer=(0,) * 4, read=1))
    before = "Question: Who directed Bolari?\nAnswer: Hunade\nSutemi is a film with director Tonuda."
    asked = put_before("Who directed Sutemi?", before)
    assert "<answer>Tonuda</answer>" in ask(expert, f"<question>{asked}</question>")


def test_it_names_the_next_search_query(world: EmbeddedWorld) -> None:
    expert = SimulatedExpert(world, replace(CERTAIN, plan=1.0))
    film = world.by_kind["train", "film"][0]
    question = f"Where was the director of {film} born?"
    passages = [f"{film} is a film with director Tonuda.", "Tonuda is a person with birthplace Mave."]

    def next_query(num_passages: int) -> str:
        task = put_before(question, show_passages("[1] " + "\n".join(passages[:num_passages])))
        return call("Custom", f"<task>{task}</task><instruction>{NEXT_QUERY}</instruction>", expert)

    assert [next_query(num) for num in (0, 1, 2)] == [
        f"Answer: the director of {film}",
        "Answer: the birthplace of Tonuda",
        "Answer: nothing",
    ]
    assert "nothing" in call(
        "Custom",
        f"<task>{question}</task><instruction>{NEXT_QUERY}</instruction>",
        SimulatedExpert(world, replace(CERTAIN, plan=0.0)),
    )
