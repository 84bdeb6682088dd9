"""Every layout in which questions are published, and what bad files get."""

import csv
import gzip
import io
import json
import os
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from workflow_r1.data import load_questions, save_questions
from workflow_r1.errors import DataError, MissingExtraError
from workflow_r1.trajectory import Question


def jsonl(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(*rows, delimiter=","):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


OWN = {"id": "a1", "question": "Who wrote Emma?", "golden_answers": ["Jane Austen", "Austen"]}

FLASHRAG = {
    "id": "dev_0",
    "question": "Are both older than ten?",
    "golden_answers": ["yes"],
    "metadata": {"type": "comparison", "level": "hard", "context": {"title": ["A"], "sentences": [["long"]]}},
}

SEARCH_R1 = {
    "id": "train_0",
    "question": "who sang it",
    "golden_answers": ["Her"],
    "data_source": "nq",
    "prompt": [{"role": "user", "content": "long prompt"}],
    "ability": "fact-reasoning",
    "reward_model": {"style": "rule", "ground_truth": {"target": ["Her", "She"]}},
    "extra_info": {"index": 0, "split": "train"},
    "metadata": None,
}

HOTPOT = {
    "_id": "5a8b",
    "question": "Were they of the same nationality?",
    "answer": "yes",
    "type": "comparison",
    "level": "hard",
    "supporting_facts": [["A", 0], ["B", 1]],
    "context": [["A", ["long", "text"]]],
}

MUSIQUE = {
    "id": "2hop__1_2",
    "question": "Where was the director born?",
    "answer": "Cincinnati",
    "answer_aliases": ["Cincinnati, Ohio", "Cincinnati"],
    "answerable": True,
    "paragraphs": [{"idx": 0, "title": "T", "paragraph_text": "long", "is_supporting": True}],
    "question_decomposition": [{"id": 1, "question": "q", "answer": "a"}],
}

TRIVIA = {
    "Data": [
        {
            "Question": "Who was the man behind it?",
            "QuestionId": "tc_1",
            "Answer": {"Value": "Sinclair", "Aliases": ["Sinclair", "S. Lewis"], "NormalizedAliases": ["s lewis"]},
            "EntityPages": [{"Title": "long"}],
            "QuestionSource": "http://example.org",
        }
    ],
    "Domain": "Web",
}

POPQA = table(
    ["id", "subj", "prop", "obj", "s_pop", "question", "possible_answers"],
    ["4222362", "George", "occupation", "politician", "142", "What is George's job?", '["politician", "political ""leader"""]'.replace('""', '\\"')],
    delimiter="\t",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "mine.jsonl",
            jsonl(OWN | {"dataset": "novels", "split": "dev", "hops": 2}),
            Question(
                id="a1", text="Who wrote Emma?", golden_answers=("Jane Austen", "Austen"), dataset="novels", split="dev",
                metadata={"hops": 2},
            ),
        ),
        (
            "hotpotqa/dev.jsonl",
            jsonl(FLASHRAG),
            Question(
                id="dev_0", text="Are both older than ten?", golden_answers=("yes",), dataset="hotpotqa", split="dev",
                metadata={"type": "comparison", "level": "hard"},
            ),
        ),
        (
            "NQ-open.train.jsonl",
            jsonl({"question": "where did they", "answer": ["Chicago", "Illinois "]}),
            Question(id="NQ-open-1", text="where did they", golden_answers=("Chicago", "Illinois"), dataset="NQ-open", split="train"),
        ),
        (
            "web-train.json",
            json.dumps(TRIVIA),
            Question(
                id="tc_1", text="Who was the man behind it?", golden_answers=("Sinclair", "S. Lewis", "s lewis"),
                dataset="web-train", metadata={"QuestionSource": "http://example.org"},
            ),
        ),
        (
            "popQA.tsv",
            POPQA,
            Question(
                id="4222362", text="What is George's job?", golden_answers=("politician", 'political "leader"'), dataset="popQA",
                metadata={"subj": "George", "prop": "occupation", "obj": "politician", "s_pop": "142"},
            ),
        ),
        (
            "hotpot_dev_distractor_v1.json",
            json.dumps([HOTPOT]),
            Question(
                id="5a8b", text="Were they of the same nationality?", golden_answers=("yes",), dataset="hotpot_dev_distractor_v1",
                metadata={"type": "comparison", "level": "hard", "supporting_facts": [["A", 0], ["B", 1]]},
            ),
        ),
        (
            "2wikimultihopqa/dev.json",
            json.dumps([HOTPOT | {"evidences": [["s", "r", "o"]]}]),
            Question(
                id="5a8b", text="Were they of the same nationality?", golden_answers=("yes",), dataset="2wikimultihopqa", split="dev",
                metadata={"type": "comparison", "level": "hard", "supporting_facts": [["A", 0], ["B", 1]], "evidences": [["s", "r", "o"]]},
            ),
        ),
        (
            "musique_ans_v1.0_dev.jsonl",
            jsonl(MUSIQUE),
            Question(
                id="2hop__1_2", text="Where was the director born?", golden_answers=("Cincinnati", "Cincinnati, Ohio"), dataset="musique_ans_v1.0_dev",
                metadata={"answerable": True, "question_decomposition": [{"id": 1, "question": "q", "answer": "a"}]},
            ),
        ),
        (
            "bamboogle.csv",
            table(["Question", "Answer"], ["Who was president, then?", "James K. Polk"]),
            Question(id="bamboogle-1", text="Who was president, then?", golden_answers=("James K. Polk",), dataset="bamboogle"),
        ),
        (
            "search_r1.jsonl",
            jsonl({key: SEARCH_R1[key] for key in ("id", "question", "data_source", "reward_model", "prompt")}),
            Question(id="nq/train_0", text="who sang it", golden_answers=("Her", "She"), dataset="nq"),
        ),
    ],
)  # fmt: skip
def test_published_layouts(tmp_path, name, content, expected):
    questions = load_questions(write(tmp_path, name, content))
    assert questions == [expected]
    # What is written of them is read back as it was.
    save_questions(tmp_path / "saved.jsonl", questions)
    assert load_questions(tmp_path / "saved.jsonl") == [expected]


TRIVIA_ON_THE_HUB = {
    "question": "Who was the man behind it?",
    "question_id": "tc_1",
    "question_source": "http://example.org",
    "entity_pages": {"title": ["long"]},
    "search_results": {"title": ["long"]},
    "answer": {
        "aliases": ["Sinclair", "[S. Lewis]"],
        "normalized_aliases": ["s lewis"],
        "matched_wiki_entity_name": "",
        "normalized_value": "sinclair",
        "type": "WikipediaEntity",
        "value": "Sinclair",
    },
}

HOTPOT_ON_THE_HUB = {
    "id": "5a8b",
    "question": "Were they of the same nationality?",
    "answer": "yes",
    "type": "comparison",
    "level": "hard",
    "supporting_facts": {"title": ["A", "B"], "sent_id": [0, 1]},
    "context": {"title": ["A"], "sentences": [["long"]]},
}

TWO_WIKI_ON_THE_HUB = {
    "_id": "8813",
    "type": "compositional",
    "question": "Who is the mother of the director?",
    "context": '[["A", ["long"]]]',
    "supporting_facts": '[["A", 1]]',
    "evidences": '[["A", "director", "Xawery Żuławski"]]',
    "answer": "Małgorzata Braunek",
}

POPQA_ON_THE_HUB = {
    "id": 4222362,
    "subj": "George",
    "s_pop": 142,
    "question": "What is George's job?",
    "possible_answers": '["politician", "political leader"]',
}


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        (
            "trivia_qa/validation-00000-of-00001.parquet",
            TRIVIA_ON_THE_HUB,
            Question(
                id="tc_1", text="Who was the man behind it?", golden_answers=("Sinclair", "[S. Lewis]", "s lewis"),
                dataset="trivia_qa", split="validation", metadata={"question_source": "http://example.org"},
            ),
        ),
        (
            "hotpot_qa/train-00001-of-00002.parquet",
            HOTPOT_ON_THE_HUB,
            Question(
                id="5a8b", text="Were they of the same nationality?", golden_answers=("yes",), dataset="hotpot_qa", split="train",
                metadata={"type": "comparison", "level": "hard", "supporting_facts": {"title": ["A", "B"], "sent_id": [0, 1]}},
            ),
        ),
        (
            "2WikiMultihopQA/dev.parquet",
            TWO_WIKI_ON_THE_HUB,
            Question(
                id="8813", text="Who is the mother of the director?", golden_answers=("Małgorzata Braunek",),
                dataset="2WikiMultihopQA", split="dev",
                metadata={
                    "type": "compositional", "supporting_facts": '[["A", 1]]',
                    "evidences": '[["A", "director", "Xawery Żuławski"]]',
                },
            ),
        ),
        (
            "nq_open/validation.parquet",
            {"question": "where did they", "answer": ["Chicago", "Illinois"]},
            Question(
                id="nq_open-1", text="where did they", golden_answers=("Chicago", "Illinois"), dataset="nq_open", split="validation"
            ),
        ),
        (
            "PopQA/test.parquet",
            POPQA_ON_THE_HUB,
            Question(
                id="4222362", text="What is George's job?", golden_answers=("politician", "political leader"), dataset="PopQA",
                split="test", metadata={"subj": "George", "s_pop": 142},
            ),
        ),
        (
            "musique/dev.parquet",
            MUSIQUE,
            Question(
                id="2hop__1_2", text="Where was the director born?", golden_answers=("Cincinnati", "Cincinnati, Ohio"),
                dataset="musique", split="dev",
                metadata={"answerable": True, "question_decomposition": [{"id": 1, "question": "q", "answer": "a"}]},
            ),
        ),
        (
            "bamboogle/test.parquet",
            {"Question": "Who was president, then?", "Answer": "James K. Polk"},
            Question(
                id="bamboogle-1", text="Who was president, then?", golden_answers=("James K. Polk",), dataset="bamboogle", split="test"
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_forms_of_the_hub(tmp_path, name, row, expected):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / name
    path.parent.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert load_questions(path) == [expected]
    # And the same row as JSON says the same.
    assert load_questions(
        write(tmp_path, "same.jsonl", jsonl(row)), dataset=expected.dataset, split=expected.split
    ) == [expected]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Paris", ("Paris",)),
        (["Paris", " Paree ", "Paris", ""], ("Paris", "Paree")),
        ('["Paris", "Paree"]', ("Paris", "Paree")),
        ("['Paris', \"l'Île\"]", ("Paris", "l'Île")),
        ("[\"l'Île\", 'Paris']", ("l'Île", "Paris")),
        ("[sic] Paris [?]", ("[sic] Paris [?]",)),
        ("[Paris]", ("[Paris]",)),
        (["['tis]", '["x" y]', "[1]"], ("['tis]", '["x" y]', "[1]")),
        (1914, ("1914",)),
        ([1914, 1.5, None, float("nan")], ("1914", "1.5")),
        ("１９１４–１８", ("１９１４–１８",)),
        (True, ("yes",)),
        ([False, None], ("no",)),
        (1937.0, ("1937",)),
        ([-2.0, 1e22], ("-2", "10000000000000000000000")),
        ([1e23, -0.0, 0.00001], ("100000000000000000000000", "0", "0.00001")),
        ("1937.0", ("1937.0",)),
        ("True", ("True",)),
    ],
)
@pytest.mark.parametrize("column", ["golden_answers", "possible_answers", "answers"])
def test_answers_may_be_a_text_a_list_or_a_list_as_text(tmp_path, cell, expected, column):
    (question,) = load_questions(write(tmp_path, "q.jsonl", jsonl({"question": "Q?", column: cell})))
    assert question.golden_answers == expected


@pytest.mark.parametrize("column", ["golden_answers", "answers", "answer", "Answer", "target"])
@pytest.mark.parametrize("name", ["q.jsonl", "q.csv", "q.tsv"])
def test_numbers_in_brackets_are_one_answer(tmp_path, column, name):
    cells = {"question": "Q?", column: "[1.95, 3.58]"}
    content = (
        jsonl(cells) if name == "q.jsonl" else table(cells, cells.values(), delimiter="\t" if "tsv" in name else ",")
    )
    columns = {"golden_answers": "target"} if column == "target" else {}
    (question,) = load_questions(write(tmp_path, name, content), columns=columns)
    assert question.golden_answers == ("[1.95, 3.58]",)


@pytest.mark.parametrize("column", ["answer", "Answer"])
def test_a_column_of_single_answers_holds_no_lists_as_text(tmp_path, column):
    (question,) = load_questions(write(tmp_path, "q.jsonl", jsonl({"question": "Q?", column: '["a", "b"]'})))
    assert question.golden_answers == ('["a", "b"]',)


def test_popqa_writes_every_list_as_text(tmp_path):
    row = {"question": "Q?", "possible_answers": "[1937, 1938.0]"}
    assert load_questions(write(tmp_path, "q.jsonl", jsonl(row)))[0].golden_answers == ("1937", "1938")


def test_strategy_qa_and_bool_q(tmp_path):
    strategy = {"qid": "872c", "term": "Genghis Khan", "question": "Q?", "answer": True, "facts": ["f"]}
    assert load_questions(write(tmp_path, "strategyqa/dev.json", json.dumps([strategy]))) == [
        Question(
            id="872c",
            text="Q?",
            golden_answers=("yes",),
            dataset="strategyqa",
            split="dev",
            metadata={"term": "Genghis Khan", "facts": ["f"]},
        )
    ]
    bool_q = {"question": "is it", "title": "It", "answer": False, "passage": "long"}
    assert load_questions(write(tmp_path, "boolq/dev.jsonl", jsonl(bool_q))) == [
        Question(
            id="boolq-1", text="is it", golden_answers=("no",), dataset="boolq", split="dev", metadata={"title": "It"}
        )
    ]


def test_whole_numbers_of_a_table_with_gaps(tmp_path):
    rows = table(["question", "answer"], ["When?", "1937.0"], ["How much?", "19.50"], ["Which?", "v1.0"])
    answers = [question.golden_answers for question in load_questions(write(tmp_path, "q.csv", rows))]
    assert answers == [("1937",), ("19.50",), ("v1.0",)]


def test_numbers_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = {
        "floats": pyarrow.array([1937.0, 2.5]),
        "decimals": pyarrow.array([Decimal("1937.00"), Decimal("2.50")], pyarrow.decimal128(9, 2)),
        "truths": pyarrow.array([True, False]),
    }
    values |= {
        "narrow": pyarrow.array([1.95, 1937.0], pyarrow.float32()),
        "lists": pyarrow.array([[1.95], [1937.0, None]], pyarrow.list_(pyarrow.float32())),
    }
    expected = {
        "narrow": ["1.95", "1937"],
        "lists": ["1.95", "1937"],
        "floats": ["1937", "2.5"],
        "decimals": ["1937", "2.50"],
        "truths": ["yes", "no"],
    }
    for name, answers in values.items():
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(pyarrow.table({"question": ["Q?", "R?"], "answer": answers}), path)
        assert [question.golden_answers for question in load_questions(path)] == [(each,) for each in expected[name]]


@pytest.mark.parametrize(("written", "read"), [(("True", "False"), ("yes", "no")), (("TRUE", "True"), ("yes", "yes"))])
def test_truth_values_of_a_table(tmp_path, written, read):
    rows = (["is it so?", written[0]], ["is it?", written[1]])
    questions = load_questions(write(tmp_path, "q.csv", table(["question", "answer"], *rows)))
    assert [question.golden_answers for question in questions] == [(each,) for each in read]


def test_a_song_called_true_is_no_truth_value(tmp_path):
    rows = table(["question", "answer"], ["Which song?", "True"], ["Who sang?", "Spandau Ballet"])
    questions = load_questions(write(tmp_path, "q.csv", rows))
    assert [question.golden_answers for question in questions] == [("True",), ("Spandau Ballet",)]


def test_the_number_of_a_choice_is_no_answer(tmp_path):
    row = {"question": "Which?", "choices": ["a", "b"], "answer": 1}
    with pytest.raises(DataError, match="found 1, which counts the entries of 'choices': write the chosen text there"):
        load_questions(write(tmp_path, "q.jsonl", jsonl(row)))


def test_dates_are_refused_with_what_to_do(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "q.parquet"
    parquet.write_table(pyarrow.table({"question": ["When?"], "answer": [date(1937, 5, 6)]}), path)
    with pytest.raises(DataError, match=r"found datetime\.date.*: write it as the text that an answer is to match"):
        load_questions(path)


def test_other_common_forms_of_answers(tmp_path):
    squad = {"id": "1", "question": "Q?", "context": "long", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}}
    (question,) = load_questions(write(tmp_path, "squad.jsonl", jsonl(squad)))
    assert (question.golden_answers, question.metadata) == (("a", "b"), {})
    dpr = {"question": "Q?", "answers": ["a"], "positive_ctxs": ["long"]}
    (question,) = load_questions(write(tmp_path, "dpr.json", json.dumps([dpr])))
    assert (question.golden_answers, question.metadata) == (("a",), {})
    search = {"id": 0, "Question": "Q?", "answer": "a"}
    assert load_questions(write(tmp_path, "o1.json", json.dumps([search])))[0].golden_answers == ("a",)


def test_unanswerable_questions_are_left_out_and_counted(tmp_path, caplog):
    # MuSiQue's full form has every question twice under one id, once with its supporting paragraphs gone.
    rows = [
        MUSIQUE,
        MUSIQUE | {"answerable": False},
        MUSIQUE | {"id": "3hop"},
        MUSIQUE | {"id": "3hop", "answerable": False},
    ]
    path = write(tmp_path, "musique_full_v1.0_dev.jsonl", jsonl(*rows))
    assert [question.id for question in load_questions(path)] == ["2hop__1_2", "3hop"]
    assert "left out 2 questions that are marked unanswerable" in caplog.text
    caplog.clear()
    table_path = write(
        tmp_path, "m.csv", table(["question", "answer", "answerable"], ["Q?", "a", "True"], ["R?", "b", "False"])
    )
    assert [question.text for question in load_questions(table_path)] == ["Q?"]
    assert "left out 1 questions" in caplog.text


def test_lines_of_json_may_be_called_json(tmp_path):
    path = write(tmp_path, "q.json", jsonl(OWN, OWN | {"id": "a2", "question": "two\u2028lines"}))
    assert [question.text for question in load_questions(path)] == ["Who wrote Emma?", "two\u2028lines"]
    with pytest.raises(DataError, match="expected one JSON document"):
        load_questions(path, format="json")


def test_a_cell_may_be_long_and_a_header_loosely_spaced(tmp_path):
    path = write(
        tmp_path, "q.tsv", table(["question ", " answer", "context"], ["Q?", "a", "x" * 200_000], delimiter="\t")
    )
    assert load_questions(path)[0].golden_answers == ("a",)


def test_empty_cells_and_numbers_that_json_lacks_stay_out_of_metadata(tmp_path):
    row = OWN | {
        "id": None,
        "a": None,
        "b": float("nan"),
        "c": [float("inf"), 1.0],
        "metadata": {"type": None, "level": "hard"},
    }
    path = write(tmp_path, "q.jsonl", jsonl(row))
    (question,) = load_questions(path)
    assert (question.id, question.metadata) == ("q-1", {"c": [None, 1.0], "level": "hard"})
    save_questions(tmp_path / "saved.jsonl", [question])
    assert "NaN" not in (tmp_path / "saved.jsonl").read_text()


def test_ids_are_unique_in_a_file_and_may_be_prefixed(tmp_path):
    rows = [OWN | {"dataset": "nq"}, OWN | {"dataset": "popqa"}]
    path = write(tmp_path, "two.jsonl", jsonl(*rows))
    with pytest.raises(DataError, match=r"two\.jsonl:2: expected ids that differ, found 'a1' again.*--prefix-ids"):
        load_questions(path)
    assert [question.id for question in load_questions(path, prefix_ids=True)] == ["nq/a1", "popqa/a1"]


def test_an_empty_id_column_hides_no_other_one(tmp_path):
    """Parquet and tables give every row of a mixture the columns of all its datasets."""
    row = {"question": "Who?", "answer": "He"}
    rows = [row | {"id": None, "qid": "q7"}, row | {"id": "", "_id": "m3"}, row | {"id": " ", "qid": None}]
    path = write(tmp_path, "mixed.jsonl", jsonl(*rows))
    assert [question.id for question in load_questions(path)] == ["q7", "m3", "mixed-3"]


def test_repeated_ids_are_named_together(tmp_path):
    rows = [OWN | {"id": f"a{number % 40}", "hops": number % 80} for number in range(100)]
    path = write(tmp_path, "q.jsonl", jsonl(*rows))
    with pytest.raises(DataError) as caught:
        load_questions(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 60
    assert lines[0].startswith(f"{path}:41: expected ids that differ, found 'a0' again (first at {path}:1): ")
    assert "20 of the 60 repeated ids" in lines[0]
    assert lines[-1] == f"{path}:100: expected ids that differ, found 'a19' again (first at {path}:20)"
    # What says the same goes; what does not is refused still.
    with pytest.raises(DataError) as caught:
        load_questions(path, drop_duplicates=True)
    assert len(str(caught.value).splitlines()) == 40


def test_very_many_repeated_ids_are_counted(tmp_path):
    path = write(tmp_path, "q.jsonl", jsonl(*[OWN] * 300))
    with pytest.raises(DataError, match=r"\.\.\. and 99 more"):
        load_questions(path)


def test_rows_that_say_the_same_are_dropped_on_demand(tmp_path, caplog):
    path = write(tmp_path, "q.jsonl", jsonl(OWN, OWN | {"id": "a2"}, OWN))
    assert [question.id for question in load_questions(path, drop_duplicates=True)] == ["a1", "a2"]
    assert "left out 1 rows that say the same as an earlier one" in caplog.text
    # Where rows have no ids, the number that stands in for one is no part of what they say.
    bare = {"question": "Q?", "answer": "A"}
    path = write(tmp_path, "bare.jsonl", jsonl(bare, bare, bare | {"question": "R?"}))
    assert [question.text for question in load_questions(path)] == ["Q?", "Q?", "R?"]
    dropped = load_questions(path, drop_duplicates=True)
    assert [(question.id, question.text) for question in dropped] == [("bare-1", "Q?"), ("bare-2", "R?")]


def test_search_r1_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "nq_hotpotqa_train" / "train.parquet"
    path.parent.mkdir()
    # The mixture repeats ids over its datasets.
    rows = [SEARCH_R1, SEARCH_R1 | {"data_source": "hotpotqa", "golden_answers": ["Him", "He"]}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    first, second = load_questions(path)
    assert first == Question(id="nq/train_0", text="who sang it", golden_answers=("Her",), dataset="nq", split="train")
    assert second == Question(
        id="hotpotqa/train_0", text="who sang it", golden_answers=("Him", "He"), dataset="hotpotqa", split="train"
    )
    assert load_questions(path, limit=1) == [first]


def test_a_broken_parquet_file_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"q\.parquet: expected a parquet file"):
        load_questions(write(tmp_path, "q.parquet", b"PAR1 nonsense"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\[data\]"):
        load_questions(write(tmp_path, "q.parquet", b""))


def test_a_users_own_columns(tmp_path):
    row = {"uid": 7, "ask": {"text": "Q?"}, "target": "A", "topic": "t", "fold": "f", "origin": "o"}
    columns = {"id": "uid", "question": "ask.text", "golden_answers": "target", "dataset": "origin", "split": "fold"}
    path = write(tmp_path, "mine.jsonl", jsonl(row))
    assert load_questions(path, columns=columns) == [
        Question(id="7", text="Q?", golden_answers=("A",), dataset="o", split="f", metadata={"topic": "t"})
    ]
    # One column alone may be mapped; the rest is recognised.
    path = write(tmp_path, "half.jsonl", jsonl({"question": "Q?", "target": ["A", "B"]}))
    assert load_questions(path, columns={"golden_answers": "target"})[0].golden_answers == ("A", "B")
    path = write(tmp_path, "other.jsonl", jsonl({"prompt": "Q?", "answer": "A"}))
    assert load_questions(path, columns={"question": "prompt"})[0].text == "Q?"


@pytest.mark.parametrize("missing", ["id", "question", "golden_answers", "dataset", "split"])
def test_a_mapped_column_that_is_missing_is_named(tmp_path, missing):
    path = write(tmp_path, "q.jsonl", jsonl(OWN))
    with pytest.raises(DataError, match=r"q\.jsonl:1: expected a column 'nowhere', found id, question, golden_answers"):
        load_questions(path, columns={missing: "nowhere"})


def test_an_unknown_field_in_the_mapping_is_refused(tmp_path):
    with pytest.raises(ValueError, match="received answer"):
        load_questions(write(tmp_path, "q.jsonl", jsonl(OWN)), columns={"answer": "x"})


def test_names_given_by_the_caller_win(tmp_path):
    path = write(tmp_path, "q.jsonl", jsonl(OWN | {"dataset": "novels", "split": "dev"}))
    (question,) = load_questions(path, dataset="mine", split="held-out")
    assert (question.dataset, question.split) == ("mine", "held-out")


def test_limit_reads_only_so_many(tmp_path):
    path = write(tmp_path, "q.jsonl", jsonl(OWN, OWN | {"id": "a2"}) + "broken\n")
    assert [question.id for question in load_questions(path, limit=2)] == ["a1", "a2"]
    with pytest.raises(ValueError, match="received 0"):
        load_questions(path, limit=0)


@pytest.mark.parametrize("name", ["q.jsonl.gz", "q.json.gz", "q.csv.gz"])
def test_text_may_be_gzipped(tmp_path, name):
    content = {
        "q.jsonl.gz": jsonl(OWN),
        "q.json.gz": json.dumps([OWN]),
        "q.csv.gz": table(
            ["id", "question", "golden_answers"], ["a1", OWN["question"], json.dumps(OWN["golden_answers"])]
        ),
    }[name]
    (question,) = load_questions(write(tmp_path, name, gzip.compress(content.encode())))
    assert question == Question(id="a1", text="Who wrote Emma?", golden_answers=("Jane Austen", "Austen"), dataset="q")


def test_the_format_may_be_given(tmp_path):
    path = write(tmp_path, "questions.txt", jsonl(OWN))
    assert load_questions(path, format="jsonl")[0].id == "a1"
    with pytest.raises(DataError, match=r"questions\.txt: expected a name that ends in .*\.jsonl"):
        load_questions(path)


def test_unusual_text_is_ordinary_input(tmp_path):
    text = "مَن كتب <think>\u2028 [INST]\u0000 \u202eabc"
    content = (
        jsonl({"question": text, "answer": ["שלום", "<answer>"]})
        + '{"question": "a\\ud800", "answer": "\\udfff!", "x": "\\ud800"}\n'
    )
    first, second = load_questions(write(tmp_path, "q.jsonl", "\ufeff" + content.replace("\n", "\r\n")))
    assert first.text == text
    assert first.golden_answers == ("שלום", "<answer>")
    # JSON can escape a lone surrogate; no file in UTF-8 and no tokenizer takes one.
    assert (second.text, second.golden_answers, second.metadata) == ("a\ufffd", ("\ufffd!",), {"x": "\ufffd"})


def test_a_quoted_cell_may_hold_line_ends(tmp_path):
    path = write(tmp_path, "q.csv", table(["question", "answer"], ["two\nlines, one", "A"], ["next", "B"]))
    assert [question.text for question in load_questions(path)] == ["two\nlines, one", "next"]


HEADER = "question,answer\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", "", "expected at least one question, found an empty file"),
        ("q.jsonl", "\n \n", "empty file"),
        ("q.json", "", "empty file"),
        ("q.json", "[]", "empty file"),
        ("q.csv", "", "empty file"),
        ("q.csv", HEADER, "empty file"),
        ("q.jsonl", jsonl(OWN) + "\n{oops\n", r"q\.jsonl:3: expected one JSON object per line"),
        ("q.jsonl", jsonl(OWN) + "[1]\n", r"q\.jsonl:2: expected a JSON object, found a list"),
        ("q.jsonl", "[" * 100_000, r"q\.jsonl:1: expected one JSON object"),
        ("q.json", "[1]", "row 1: expected a JSON object, found a int"),
        ("q.json", '{"rows": []}', "under 'Data' or 'data'"),
        ("q.json", jsonl(OWN) + "{oops\n", r"q\.json:2: expected one JSON object per line"),
        ("q.json", '[{"question":\n', r"q\.json:2: expected one JSON document"),
        ("q.json", "[" * 100_000, "nested too deep"),
        ("q.csv", HEADER + "a,b\nc\n", r"q\.csv:3: expected 2 cells, as in the header, found 1"),
        ("q.csv", HEADER + "a,b,c\n", r"q\.csv:2: expected 2 cells, as in the header, found 3"),
        ("q.csv", HEADER + 'a,"b\n', r"q\.csv:2: not a well-quoted table"),
        ("q.csv", "question,answer,answer\na,b,c\n", "found answer more than once"),
        ("q.jsonl", jsonl({"query": "Q?", "answer": "A"}), "expected a column 'question' or 'Question', found query, answer: map your column to 'question': data.columns = . question = \"YOUR COLUMN\" . in the configuration, .--column question=COLUMN"),
        ("q.jsonl", jsonl({"question": "Q?", "gold": "A"}), "expected a column 'golden_answers' or .*found question, gold: map"),
        ("q.jsonl", jsonl(OWN, {"id": "2", "question": "Q?"}), r":2: expected a column 'golden_answers', found id, question"),
        ("q.jsonl", jsonl(OWN | {"question": " "}), ":1: expected the text of a question in 'question', found an empty one"),
        ("q.jsonl", jsonl(OWN | {"question": 5}), "expected the text of a question in 'question', found 5"),
        ("q.jsonl", jsonl(OWN | {"golden_answers": []}), "expected at least one answer in 'golden_answers', found none"),
        ("q.jsonl", jsonl(OWN | {"golden_answers": ["", " "]}), "at least one answer"),
        ("q.jsonl", jsonl(OWN | {"golden_answers": None}), "at least one answer"),
        ("q.jsonl", jsonl(OWN | {"golden_answers": [{"x": 1}]}), "expected text or a list of texts in 'golden_answers'"),
        ("q.jsonl", jsonl(OWN | {"golden_answers": [float("inf")]}), "found inf"),
        ("q.csv", "question,golden_answers\nQ?,\"['a' 'b']\"\n", "expected a JSON list in 'golden_answers', found neither that nor a Python"),
        ("q.csv", "question,golden_answers\nQ?,\"['a', print()]\"\n", "found neither that nor a Python list"),
        ("q.csv", "question,golden_answers\nQ?,\"['" + "[" * 100_000 + "]\"\n", "found neither that nor a Python list"),
        ("q.jsonl", jsonl({"question": "Q?", "answer": {"value": "<unk>", "aliases": []}}), "at least one answer in 'answer.value', found none"),
        ("q.jsonl", jsonl(OWN | {"id": ["x"]}), "expected text or a number in 'id'"),
        ("q.jsonl", jsonl(OWN, OWN), r"q\.jsonl:2: expected ids that differ.*'a1'.*first at .*q\.jsonl:1"),
        ("q.jsonl", jsonl(MUSIQUE | {"answerable": False}), "expected at least one question, found 1 unanswerable ones"),
        ("q.jsonl", b'{"question": "\xff"}\n', r"q\.jsonl: expected UTF-8 text, found byte 0xff"),
        ("q.jsonl.gz", b"not gzip", r"q\.jsonl\.gz: cannot be read"),
    ],
)  # fmt: skip
def test_bad_files_get_one_clear_message(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        load_questions(write(tmp_path, name, content))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"found nothing at .*absent\.jsonl"):
        load_questions(tmp_path / "absent.jsonl")
    write(tmp_path, "dev.jsonl", "")
    with pytest.raises(DataError, match=r"found a folder at .*name one of its files \(dev\.jsonl\)"):
        load_questions(str(tmp_path))


def test_an_unknown_format_is_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match="'xml'"):
        load_questions(write(tmp_path, "q.jsonl", jsonl(OWN)), format="xml")


DATA = Path(os.environ.get("WORKFLOW_R1_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no question files at {DATA}; set WORKFLOW_R1_DATA")
@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.jsonl")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_real_files(path):
    questions = load_questions(path)
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert [question.id for question in questions] == [row["id"] for row in rows]
    for question, row in zip(questions, rows, strict=True):
        assert question.text == row["question"].strip()
        assert set(question.golden_answers) == {answer.strip() for answer in row["golden_answers"]} - {""}
        assert (question.dataset, question.split) == (row["dataset"], row["split"])
        assert question.metadata == {
            k: row[k] for k in row if k not in ("id", "question", "golden_answers", "dataset", "split")
        }
