"""``workflow-r1 rescore``, and ``report`` on what it leaves beside its run."""

import json
from collections.abc import Callable


def test_a_run_is_scored_again_and_compared_with_itself(call: Callable, tmp_path) -> None:
    small = ("-o", "training.steps=2", "-o", "training.questions_per_step=2", "-o", "training.group_size=2",
             "-o", "training.mini_batch_questions=1", "-o", "training.evaluation_questions=2")  # fmt: skip
    code, _, errors = call("train", "embedded", *small, "--output", "run")
    assert code == 0, errors
    code, output, errors = call("rescore", "run", "-o", "reward=f1", "--output", "f1")
    assert code == 0, errors
    assert "mean over 2 steps" in output and "trajectories and metrics in f1" in output
    rows = [json.loads(line) for line in (tmp_path / "f1" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]

    code, output, errors = call("report", "run", "f1")
    assert code == 0, errors
    assert "2 runs beside each other" in output and "A simulation" in output
    assert {path.name for path in (tmp_path / "run" / "report").iterdir()} == {"curves.png", "curves.svg", "report.md"}
    code, _, errors = call("report", "run", "f1", "--output", "there")
    assert code == 0, errors
    assert "![Curves](curves.png)" in (tmp_path / "there" / "report.md").read_text()

    for arguments, message in (
        (("rescore", "run", "-o", "seed=1"), "expected keys of the section reward"),
        (("rescore", "run", "--output", "f1"), "expected a new or empty directory"),
        (("report", "run", "run"), "expected different runs"),
        (("report", "run", "f1", "--confidence", "2"), "expected a number from 0.5 to below 1"),
        (("report", "run", "f1", "--reference", "cot"), "expected the directory of an evaluation"),
    ):
        code, _, errors = call(*arguments)
        assert code == 2
        assert message in " ".join(errors.split())
