"""The search: choose a parent, have one change proposed, validate it, and again.

    DIRECTORY/
      round-01.json              the workflow of the round and its score, once it is validated
      round-01.rep-1.jsonl       the answers to the validation questions, as they come
      round-02.replies.jsonl     every reply of the proposer, usable or not
      found.json                 the best workflow so far
      search.json, seconds.json, summary.json     see ``methods.searching``

Every answer and every reply is written as it comes; a later run pays for none of them again.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from workflow_r1.accounting import charged_to
from workflow_r1.data import fingerprint
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.errors import DataError, ServiceUnavailableError
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.methods.aflow.archive import Round, best_round, choose_parent, is_stuck
from workflow_r1.methods.aflow.proposer import (
    Mistake,
    Proposer,
    Refusal,
    Task,
    Trial,
    read_proposal,
)
from workflow_r1.methods.graphs import GraphPolicy, WorkflowGraph
from workflow_r1.methods.searching import SearchDirectory
from workflow_r1.operators import Operator
from workflow_r1.rollout import derive_seed
from workflow_r1.rollout.outage import MIN_FAILED_IN_A_ROW, OutageWatch
from workflow_r1.trajectory import Question, ScoredTrajectory, Trajectory, Usage, append_trajectories, load_trajectories
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import append_lines, iterate_lines, write_atomically

FOUND = "found.json"

NUM_MISTAKES = 3
"""Wrong answers that a proposer is shown. AFlow: 3."""

MAX_REPLIES = 5
"""Replies of the proposer for one round; then the round is given up."""

NUM_PASSES = 2
"""Most times that a question is asked where the infrastructure fails."""

MAX_FAILED_SHARE = 0.1
"""Largest share of failed answers in one round. Beyond it a mean says nothing, and the search stops until the services
are back."""

CHARGED_TO = "AFlow"
"""Account of the proposals in the ledger."""

Score = Literal["exact_match", "f1"]


class SavedReply(Record):
    """One reply of the proposer."""

    text: str
    """Text of the proposer."""
    problem: str = ""
    """Reason why it could not be used; empty where it was used."""
    usage: Usage = Usage()
    """Usage of the reply."""


class AFlowSearch:
    """One search. Equal arguments find equal workflows, however often it was interrupted.

    Args:
        directory: directory of its state.
        questions: questions to validate on, with golden answers.
        operators: the pool.
        make_environments: a maker for each answer to a validation question; the LLMs of each draw samples of their own.
        proposer: the proposer of changes.
        rounds: changes to try, after the first round.
        sample: rounds that may be built on, the first included.
        patience: rounds without a change of the best three that end the search; 0 never does.
        max_nodes: most nodes of a workflow.
        score: the score that is averaged.
        seed: all draws derive from it.
        concurrency: trajectories that are live at once.
        notify: called with each line of progress.
    """

    def __init__(
        self,
        directory: SearchDirectory,
        *,
        questions: Sequence[Question],
        operators: Mapping[str, Operator],
        make_environments: Sequence[Callable[[Question], QuestionEnvironment]],
        proposer: Proposer,
        rounds: int = 20,
        sample: int = 4,
        patience: int = 5,
        max_nodes: int = 10,
        score: Score = "exact_match",
        seed: int = 0,
        concurrency: int = 32,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._directory = directory
        self._questions = questions
        self._operators = operators
        self._make_environments = make_environments
        self._proposer = proposer
        self._num_rounds = rounds
        self._sample = sample
        self._patience = patience
        self._max_nodes = max_nodes
        self._score = score
        self._seed = seed
        self._concurrency = concurrency
        self._notify = notify
        self.rounds: list[Round] = []
        """Rounds so far, in order."""

    async def run(self) -> Round:
        """Search, and return the best round.

        Raises:
            ServiceError: a service is down; all results so far are kept.
            BudgetExceededError: the budget is used up; all results so far are kept.
        """
        with self._directory.timed():
            self._announce()
            while len(self.rounds) <= self._num_rounds and not is_stuck(self.rounds, self._patience):
                number = len(self.rounds) + 1
                path = self._path(number, ".json")
                if path.is_file():
                    self.rounds.append(_read(path))
                    continue
                tried = await self._try(number)
                write_atomically(path, tried.model_dump_json(indent=1) + "\n")
                self.rounds.append(tried)
                self._directory.keep_time()
                self._tell(tried)
            best = best_round(self.rounds)
            assert best.graph is not None
            write_atomically(self._directory.path / FOUND, best.graph.to_json())
            self._conclude(best)
        return best

    async def _try(self, number: int) -> Round:
        """Have a workflow proposed, and validate it."""
        rng = random.Random(derive_seed(self._seed, "aflow round", number))
        if number == 1:
            return await self._validate(number, None, "the first workflow: one call", first_graph(self._operators))
        parent = choose_parent(self.rounds, sample=self._sample, rng=rng)
        assert parent.graph is not None and parent.score is not None
        task = Task(
            parent=parent.graph,
            score=parent.score,
            trials=[
                Trial(each.modification, each.score)
                for each in self.rounds
                if each.parent == parent.number and each.score is not None
            ],
            mistakes=self._draw_mistakes(parent.number, rng),
            operators=self._operators,
            max_nodes=self._max_nodes,
            seed=derive_seed(self._seed, "aflow proposal", number),
            tried=frozenset(each.graph.fingerprint for each in self.rounds if each.graph is not None),
        )
        usage, proposed = await self._propose(number, task)
        if proposed is None:
            words = f"no usable workflow in {MAX_REPLIES} proposals"
            return Round(number=number, parent=parent.number, modification=words, graph=None, proposal_usage=usage)
        return await self._validate(number, parent.number, *proposed, proposal_usage=usage)

    async def _propose(self, number: int, task: Task) -> tuple[Usage, tuple[str, WorkflowGraph] | None]:
        path = self._path(number, ".replies.jsonl")
        saved = _read_replies(path)
        refused = [Refusal(each.text, each.problem) for each in saved if each.problem]
        usage = sum((each.usage for each in saved), start=Usage())
        if saved and not saved[-1].problem:
            return usage, self._judge(saved[-1].text)
        while len(refused) < MAX_REPLIES:
            with charged_to(CHARGED_TO):
                reply = await self._proposer(task, refused)
            usage += reply.usage
            proposed, problem = None, ""
            try:
                proposed = self._judge(reply.text)
            except DataError as error:
                problem = str(error)
            row = SavedReply(text=reply.text, problem=problem, usage=reply.usage)
            append_lines(path, [_to_line(row)])
            if proposed is not None:
                return usage, proposed
            refused.append(Refusal(reply.text, problem))
        return usage, None

    def _judge(self, text: str) -> tuple[str, WorkflowGraph]:
        """Read a proposal.

        Raises:
            DataError: it cannot be used, or was tried before.
        """
        modification, graph = read_proposal(text, self._operators, max_nodes=self._max_nodes)
        for each in self.rounds:
            if each.graph is not None and each.graph.fingerprint == graph.fingerprint:
                raise DataError(
                    f"this workflow was tried before (its score was {each.score:.3f}); propose one that does something else"
                )
        return modification, graph

    async def _validate(
        self,
        number: int,
        parent: int | None,
        modification: str,
        graph: WorkflowGraph,
        *,
        proposal_usage: Usage | None = None,
    ) -> Round:
        """Let a workflow answer the validation questions.

        Raises:
            ServiceUnavailableError: too many answers failed.
        """
        policy = GraphPolicy(graph, self._operators, name=f"round {number}")
        usage = Usage()
        scored: list[ScoredTrajectory] = []
        num_failed = 0
        for repeat, make_environment in enumerate(self._make_environments, start=1):
            path = self._path(number, f".rep-{repeat}.jsonl")
            done = load_trajectories(path) if path.is_file() else []
            usage += sum((each.usage for each in done), start=Usage())
            watch = OutageWatch(max(MIN_FAILED_IN_A_ROW, self._concurrency))
            answers: Sequence[Trajectory] = ()
            new: list[Usage] = []

            def keep(
                trajectory: Trajectory, path: Path = path, watch: OutageWatch = watch, new: list[Usage] = new
            ) -> None:
                append_trajectories(path, [trajectory], flush=False)
                new.append(trajectory.usage)
                watch.observe(trajectory)

            for _ in range(NUM_PASSES):
                result = await evaluate(
                    self._questions,
                    policy=policy,
                    make_environment=make_environment,
                    seed=derive_seed(self._seed, "aflow validation", repeat),
                    concurrency=self._concurrency,
                    done=[*done, *answers],
                    on_trajectory=keep,
                )
                answers = result.trajectories
                if not any(each.stop_reason.is_infrastructure for each in answers):
                    break
            usage += sum(new, start=Usage())
            scored += [each for each in answers if isinstance(each, ScoredTrajectory)]
            failed = [each for each in answers if each.stop_reason.is_infrastructure]
            num_failed += len(failed)
            if len(failed) > MAX_FAILED_SHARE * len(answers):
                raise ServiceUnavailableError(
                    f"round {number}: {len(failed)} of {len(answers)} answers failed, the first with: {failed[0].error}; the "
                    "same command continues with them"
                )
        return Round(
            number=number,
            parent=parent,
            modification=modification,
            graph=graph,
            score=sum(each.reward.parts[self._score] for each in scored) / len(scored),
            num_scored=len(scored),
            num_failed=num_failed,
            calls_per_question=sum(each.usage.llm_calls for each in scored) / len(scored),
            usage=usage,
            proposal_usage=proposal_usage or Usage(),
        )

    def _draw_mistakes(self, number: int, rng: random.Random) -> list[Mistake]:
        rows = {each.question.id: each for each in load_trajectories(self._path(number, ".rep-1.jsonl"))}
        # In the order of the questions: the file holds them in the order in which answers came.
        wrong = [
            each
            for question in self._questions
            if isinstance(each := rows.get(question.id), ScoredTrajectory) and not each.reward.success
        ]
        drawn = rng.sample(wrong, min(NUM_MISTAKES, len(wrong)))
        return [Mistake(each.question.text, each.question.golden_answers, each.answer or "") for each in drawn]

    def _announce(self) -> None:
        num = len(self._questions) * len(self._make_environments)
        self._notify(
            f"AFlow, proposals by {self._proposer.name}: up to {self._num_rounds} changes, each tried on {num:,} answers "
            f"to training questions; at one LLM call an answer, as the first workflow makes, {(self._num_rounds + 1) * num:,} "
            f"calls in all, at the {self._max_nodes} nodes that a workflow may have some {self._max_nodes} times as many"
        )

    def _tell(self, tried: Round) -> None:
        best = best_round(self.rounds)
        if tried.score is None:
            what = tried.modification
        else:
            what = (
                f"score {tried.score:.3f}, {tried.calls_per_question:.1f} calls a question ({tried.modification[:100]})"
            )
        measured = [each.calls_per_question for each in self.rounds if each.calls_per_question is not None]
        num_left = self._num_rounds + 1 - len(self.rounds)
        calls = num_left * len(self._questions) * len(self._make_environments) * sum(measured) / len(measured)
        self._notify(
            f"round {tried.number}/{self._num_rounds + 1}: {what}; best: round {best.number} with {best.score:.3f}; at most "
            f"{num_left} rounds to go, about {calls:,.0f} calls"
        )

    def _conclude(self, best: Round) -> None:
        assert best.graph is not None
        usage = sum((each.usage + each.proposal_usage for each in self.rounds), start=Usage())
        stuck = is_stuck(self.rounds, self._patience)
        self._directory.conclude(
            usage,
            found={
                "round": best.number,
                "score": best.score,
                "calls_per_question": best.calls_per_question,
                "graph": best.graph.model_dump(mode="json"),
            },
            score=self._score,
            proposer=self._proposer.name,
            proposal_calls=sum(each.proposal_usage.llm_calls for each in self.rounds),
            ended=f"no change of the best three in {self._patience} rounds" if stuck else "all rounds done",
            num_questions=len(self._questions),
            num_failed=sum(each.num_failed for each in self.rounds),
            rounds=[
                each.model_dump(
                    mode="json", include={"number", "parent", "modification", "score", "calls_per_question"}
                )
                for each in self.rounds
            ],
        )

    def _path(self, number: int, ending: str) -> Path:
        return self._directory.path / f"round-{number:02d}{ending}"


def first_graph(operators: Mapping[str, Operator]) -> WorkflowGraph:
    """Return the workflow that a search begins with: one call that asks for the answer.

    Raises:
        DataError: no operator of the pool can be asked a question.
    """
    if "Custom" in operators:
        arguments = {"task": "{question}", "instruction": "Answer the question in a few words."}
        return _one_call("Custom", arguments)
    for operator in operators.values():
        required = [argument for argument in operator.arguments if not argument.is_optional]
        if "llm" in operator.needs and len(required) == 1 and required[0].type is str and not required[0].is_list:
            return _one_call(operator.name, {required[0].name: "{question}"})
    raise DataError(
        f"expected an operator in the pool that takes a question, such as Custom or AnswerGenerate, received "
        f"{', '.join(operators)}; add one to environment.operators"
    )


def _one_call(operator: str, arguments: dict[str, str]) -> WorkflowGraph:
    return WorkflowGraph.model_validate(
        {"nodes": [{"name": "first", "operator": operator, "arguments": arguments}], "output": "{first}"}
    )


def identity(
    *,
    questions: Sequence[Question],
    operators: Mapping[str, Operator],
    proposer: Proposer,
    **settings: object,
) -> dict[str, object]:
    """Conditions of a search's rounds; their number is not among them, so that a search can be prolonged."""
    return {
        "method": "aflow",
        "questions": fingerprint(questions),
        "num_questions": len(questions),
        "operators": {name: operator.usage for name, operator in operators.items()},
        "proposer": proposer.name,
        **settings,
    }


def _read(path: Path) -> Round:
    try:
        return Round.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: expected a round of a search, found {error.errors()[0]['msg']}; restore it") from None


def _read_replies(path: Path) -> list[SavedReply]:
    if not path.is_file():
        return []
    return [SavedReply.model_validate_json(line) for _, line in iterate_lines(path, of="replies")]


def _to_line(row: SavedReply) -> str:
    text = row.text.encode("utf-8", "replace").decode("utf-8")
    return row.model_copy(update={"text": text}).model_dump_json() + "\n"
