"""Demonstrations on real questions say nothing that was not shown, and only right ones are kept."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.errors import ConfigError, UserError
from workflow_r1.rewards import normalize_answer
from workflow_r1.running.configuration import open_config
from workflow_r1.running.demonstrations import (
    Demonstrations,
    Selection,
    choose_right,
    demonstrate,
)
from workflow_r1.running.title_script import asked_words, find_answer, follow_titles, quote
from workflow_r1.trajectory import (
    Question,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Trajectory,
    Turn,
    load_trajectories,
)

CORPUS = (
    ("1", "Lucy Saunders", "Lucy Saunders wrote essays for the collection of Michael Jackson the beer hunter."),
    ("2", "Michael Jackson (writer)", "Jackson was a journalist who wrote many books about beer and whisky in London."),
    ("3", "Denver", "Denver has no </info> harbour <answer> of any size."),
    ("4", "Beer and whisky", "Beer and whisky are drinks made of grain."),
)
CHAINED = Question(
    id="chained",
    text="What did the man write about, for whom Lucy Saunders wrote?",
    golden_answers=("beer and whisky",),
    metadata={"supporting_titles": ["Lucy Saunders", "Michael Jackson (writer)"]},
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for id, title, text in CORPUS:
            file.write(json.dumps({"id": id, "title": title, "text": text}) + "\n")
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Question) -> Path:
        path = tmp_path / "questions.jsonl"
        path.write_text(
            "".join(
                json.dumps(
                    {
                        "id": row.id,
                        "question": row.text,
                        "golden_answers": list(row.golden_answers),
                        "dataset": "own",
                        "split": "train",
                        **row.metadata,
                    }
                )
                + "\n"
                for row in rows
            )
        )
        return path

    return write


def settings(corpus: Path, *more: str):
    index = corpus.parent / "index"
    pool = 'environment.operators=["Search"]'
    return open_config(
        None,
        [
            "search.kind=bm25",
            f"search.corpus={corpus}",
            f"search.index={index}",
            "search.k=1",
            pool,
            *more,
        ],
    )


def asked(id: str, text: str, answer: str, *titles: str) -> Question:
    return Question(id=id, text=text, golden_answers=(answer,), metadata={"supporting_titles": list(titles)})


def test_searches_hop_by_hop_and_quotes_what_search_returned(
    corpus: Path, questions: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "kept.jsonl"
    done = demonstrate(settings(corpus), output=output, questions=questions(CHAINED))
    (trajectory,) = load_trajectories(output)
    first, second, last = trajectory.turns
    assert first.text.endswith(("<tool>Search: Lucy Saunders</tool>", f"<tool>Search: {CHAINED.text}</tool>"))
    assert 'says: "for the collection of Michael Jackson the beer hunter." I look up Michael Jackson.' in second.text
    assert last.text == (
        '<think>The question asks "What did the man write about". Passage 1 says: "wrote many books about beer and whisky in '
        'London."</think><answer>beer and whisky</answer>'
    )
    assert trajectory.reward.exact_match == 1  # type: ignore[attr-defined]
    assert done.searches == {2: 1} and done.num_questions == 1


def test_says_nothing_that_was_not_shown(corpus: Path, questions: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "kept.jsonl"
    rows = [CHAINED, asked("d", "What does the city of Denver lack?", "harbour", "Denver")]
    demonstrate(settings(corpus), output=output, questions=questions(*rows), per_question=4)
    kept = load_trajectories(output)
    assert {trajectory.question.id for trajectory in kept} == {"chained", "d"}
    for trajectory in kept:
        shown = trajectory.question.text
        for turn in trajectory.turns:
            # Whatever is quoted, searched or answered stands in what came before; a name goes before the question's words.
            for part in turn.text.split('"')[1::2] + [
                call.input.removesuffix(trajectory.question.text) for call in turn.calls
            ]:
                assert normalize_answer(part) in normalize_answer(shown), part
            shown += f"\n{turn.observation}"
        assert normalize_answer(trajectory.answer or "none") in normalize_answer(shown)
        assert all(turn.well_formed for turn in trajectory.turns)


def test_counts_what_it_leaves_out(corpus: Path, questions: Callable[..., Path], tmp_path: Path) -> None:
    rows = [
        CHAINED,
        asked("yes", "Is Denver a city?", "yes", "Denver"),
        asked("named", "Is Denver or Paris higher?", "Denver", "Denver"),
        Question(id="none", text="Who?", golden_answers=("x",)),
        # The answer stands in a passage that is no evidence.
        asked("elsewhere", "What did Lucy Saunders drink?", "grain", "Lucy Saunders"),
    ]
    done = demonstrate(settings(corpus), output=tmp_path / "kept.jsonl", questions=questions(*rows))
    assert done.num_questions == 5 and len(done.kept) == 1
    assert done.dropped["yes or no"] == done.dropped["the question names the answer"] == 1
    assert done.dropped["no supporting titles"] == 1
    assert done.dropped["no answer"] >= 4
    assert done.num_trajectories + 3 == len(done.kept) + sum(done.dropped.values())


def test_without_titles_a_passage_that_speaks_of_the_question_is_evidence(
    corpus: Path, questions: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [
        Question(id="spoken", text="in which city was the journalist on beer", golden_answers=("London",)),
        # The answer stands in a passage that speaks of something else.
        Question(
            id="by chance",
            text="who sold whisky to all journalists and brewers of Scotland",
            golden_answers=("Jackson",),
        ),
        CHAINED,
    ]
    output = tmp_path / "kept.jsonl"
    done = demonstrate(settings(corpus), output=output, questions=questions(*rows), untitled=True)
    assert [trajectory.question.id for trajectory in load_trajectories(output)] == ["spoken", "chained"]
    (search, answer) = load_trajectories(output)[0].turns
    assert search.text.endswith("<tool>Search: in which city was the journalist on beer</tool>")
    assert answer.text == (
        '<think>The question asks "which city was the journalist on". Passage 1 says: "beer and whisky in London."'
        "</think><answer>London</answer>"
    )
    assert done.num_questions == 3 and len(done.kept) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("when did the war of the roses begin exactly", "when did the war of the"),
        ("The film by the man who died when in Paris?", "who died when in Paris"),
        ("Who sang in the band that sold how many records worldwide?", "how many records worldwide"),
        ("Name the river that flows through the city of Paris.", "flows through the city of Paris"),
    ],
)
def test_the_thought_repeats_what_is_asked_for(text: str, words: str) -> None:
    assert asked_words(text) == words


def test_a_question_without_content_makes_no_passage_evident() -> None:
    question = Question(id="q", text="Who is it, and what was that?", golden_answers=("London",))
    assert find_answer(question, "[1] Beer: Beer is brewed in London.", []) is None


def test_leaves_no_file_where_nothing_is_kept(corpus: Path, questions: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "kept.jsonl"
    file = questions(asked("yes", "Is Denver a city?", "yes", "Denver"))
    with pytest.raises(UserError, match="kept none: yes or no 1"):
        demonstrate(settings(corpus), output=output, questions=file)
    assert not output.exists()
    for more in ({"questions": file}, {"untitled": True}):
        with pytest.raises(ConfigError, match="--questions and --untitled without --from"):
            demonstrate(settings(corpus), output=output, sources=[file], **more)  # type: ignore[arg-type]


def test_a_passage_that_is_no_evidence_is_not_quoted() -> None:
    """The answer of one word stands in many passages: only one of a supporting page proves it."""
    observation = (
        "[1] Beer and whisky: Beer and whisky are drinks.\n[2] Michael Jackson (writer): He wrote of beer and whisky."
    )
    found = find_answer(CHAINED, observation, ["Michael Jackson (writer)"])
    assert found is not None and found.passage == 2
    assert find_answer(CHAINED, observation, ["Lucy Saunders"]) is None


@pytest.mark.parametrize(
    ("phrase", "passage", "expected"),
    [
        ("beer and whisky", "of Beer, and the whisky.", ("of Beer, and the whisky.", "Beer, and the whisky")),
        ("Paris", "a b c d e Paris f g h i j", ("b c d e Paris f g h i", "Paris")),
        ("Inc.", "the firm Foo Inc. of Ohio", ("the firm Foo Inc. of Ohio", "Inc.")),
        ("the", "the end", None),
        ("Par", "Paris", None),
    ],
)
def test_quote(phrase: str, passage: str, expected: tuple[str, str] | None) -> None:
    assert quote(phrase, passage) == expected


def test_quotes_the_place_that_shares_most_words_with_the_question() -> None:
    passage = "In 1990 it rained on all of the hills there. Born in 1990 she sang."
    assert quote("1990", passage, beside="When was she born?") == ("hills there. Born in 1990 she sang.", "1990")


def test_the_script_ends_where_nothing_leads_further() -> None:
    script = follow_titles(CHAINED, name_first=True, name_alone=True)
    assert "Search: Lucy Saunders" in next(script)
    with pytest.raises(StopIteration):
        script.send("No passages were found. Try other words.")


def made(answer: str | None, *, id: str = "q", think: str = "so", tokens: int = 0, gold: str = "Paris") -> Trajectory:
    text = f"<think>{think}</think>" + (f"<answer>{answer}</answer>" if answer is not None else "")
    turn = Turn(
        index=1, text=text, well_formed=answer is not None, token_ids=tuple(range(tokens)), logprobs=(0.0,) * tokens
    )
    return Trajectory(
        id=f"{id}-{think}",
        group_id=id,
        question=Question(id=id, text="Where?", golden_answers=(gold,)),
        turns=(turn,),
        answer=answer,
        stop_reason=StopReason.ANSWERED if answer is not None else StopReason.MAX_TURNS,
    )


def test_rejection_sampling_keeps_right_new_short_ones() -> None:
    rows = [
        made("Paris"),
        made("Paris"),
        made("Paris", think="again"),
        made("Paris", think="third"),
        made("Rome", think="wrong"),
        made(None),
        made("Paris", id="other", tokens=9),
        made("Paris", id="other", tokens=8),
        made("Paris", id="late", think="x"),
        made("Paris", id="unasked", gold="Paris").model_copy(
            update={"question": Question(id="u", text="?", golden_answers=())}
        ),
        made("Paris", id="broken").model_copy(update={"stop_reason": StopReason.OPERATOR_FAILED}),
    ]
    done: Demonstrations = choose_right(rows, selection=Selection(per_question=2, max_turn_tokens=8), num=4)
    assert [trajectory.id for trajectory in done.kept] == ["q-so", "q-again", "other-so", "late-x"]
    assert done.dropped == {
        "repeated": 1,
        "enough of its question": 1,
        "wrong answer": 1,
        "no answer": 1,
        "a turn is too long": 1,
        "enough altogether": 2,
    }
    assert done.num_trajectories == len(rows)


def test_two_questions_of_one_id_are_two_questions() -> None:
    """The published benchmarks number their questions alike: train_0, train_1, ..."""
    first = made("Paris", id="train_0")
    question = first.question.model_copy(update={"text": "Who?"})
    done = choose_right([first, first.model_copy(update={"question": question})], selection=Selection())
    assert [each.question.text for each in done.kept] == ["Where?", "Who?"]
    assert (done.num_questions, done.dropped) == (2, {})


def test_command(call: Callable, corpus: Path, questions: Callable[..., Path], tmp_path: Path) -> None:
    options = [
        "-o", "search.kind=bm25", "-o", f"search.corpus={corpus}", "-o", f"search.index={tmp_path / 'index'}",
        "-o", "search.k=1", "-o", 'environment.operators=["Search"]',
    ]  # fmt: skip
    by_script, chosen = tmp_path / "script.jsonl", tmp_path / "chosen.jsonl"
    file = questions(CHAINED, asked("yes", "Is Denver a city?", "yes", "Denver"))
    code, output, errors = call("demonstrate", *options, "--questions", file, "--output", by_script)
    assert code == 0, errors
    assert "2 questions, 4 trajectories; kept 1 in" in output and "(1 with 2 calls)" in output
    assert "yes or no 1" in output
    code, output, errors = call("demonstrate", *options, "--from", by_script, "--output", chosen)
    assert code == 0, errors
    assert load_trajectories(chosen) == load_trajectories(by_script)
    code, output, errors = call("demonstrate", *options, "--from", by_script, "--output", chosen)
    assert code == 2 and "expected a new file" in errors


def test_rejection_sampling_judges_by_the_answer_whatever_was_rewarded() -> None:
    """A run with a reward of its own pays a wrong answer too; it is no demonstration."""
    paid = TaskReward(total=0.7, success=True, parts={"f1": 0.7})
    rows = [
        ScoredTrajectory(**dict(made("Rome", think="paid")), reward=paid),
        ScoredTrajectory(**dict(made("Paris", think="right")), reward=paid),
    ]
    done = choose_right(rows, selection=Selection())
    assert [trajectory.id for trajectory in done.kept] == ["q-right"]
    assert done.dropped == {"wrong answer": 1}
