"""The command line as a person meets it: real processes, their exit codes and what they say."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.installation import install_command

Call = Callable[..., "subprocess.CompletedProcess[str]"]
"""The fixture that calls the command line in this process."""

COMMANDS = (
    "train",
    "ask",
    "evaluate",
    "report",
    "show",
    "rollout",
    "warmstart",
    "world",
    "operators",
    "doctor",
    "serve",
    "serve-search",
    "index",
    "serve-env",
)

FILES = ("-o", "data.source=files", "-o")


def run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "workflow_r1.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *, code: int = 2) -> str:
    """The message of a refusal: an exit code, one message, no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_is_fast_and_names_every_command(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    # Processor time, and the best of three: the machine may be busy with something else.
    assert min(seconds) < 1.0


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from workflow_r1.cli import app\n"
        f"for command in {COMMANDS!r}:\n"
        "    try:\n"
        "        app([command, '--help'])\n"
        "    except SystemExit as leaving:\n"
        "        assert leaving.code == 0\n"
        "heavy = {'torch', 'transformers', 'openai', 'numpy', 'matplotlib', 'bm25s', 'workflow_r1.config'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_fixed_workflows_run_without_torch(tmp_path: Path) -> None:
    """The base install has none: an evaluation against an LLM must not import it."""
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'matplotlib'): sys.modules[name] = None\n"
        "from workflow_r1.cli import app\n"
        "app(['evaluate', '-m', 'cot', '--limit', '4', '--output', 'e'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "summary.json").is_file()


def test_without_torch_training_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The command names what lies below the working directory by its short path.
    script = (
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from workflow_r1.cli import main\n"
        "import sys\n"
        "sys.argv = ['workflow-r1', 'train']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert install_command("train") in refused(done)
    assert list(tmp_path.iterdir()) == []


def test_version(call: Call, tmp_path: Path) -> None:
    from workflow_r1 import __version__

    assert call("--version").stdout.strip() == __version__


def test_misspelt_key_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[training]\nstpes = 3\n")
    message = refused(run("train", "run.toml", cwd=tmp_path))
    assert "run.toml:2: unknown key 'training.stpes'; did you mean 'training.steps'?" in message


@pytest.mark.parametrize("command", ["train", "evaluate", "rollout", "warmstart", "ask"])
def test_wrong_type_in_an_override(call: Call, tmp_path: Path, command: str) -> None:
    message = refused(call(command, "-o", "training.steps=many"))
    assert 'training.steps: expected a whole number, received "many"' in message
    assert list(tmp_path.iterdir()) == []


def test_a_policy_behind_a_server_is_not_trained(call: Call) -> None:
    assert "cannot be trained" in refused(call("train", "-o", "policy.base_url=http://127.0.0.1:9/v1"))


def test_missing_configuration(call: Call, tmp_path: Path) -> None:
    assert "found nothing at absent.toml" in refused(call("train", "absent.toml"))


def test_unknown_option_and_method(call: Call, tmp_path: Path) -> None:
    assert call("train", "--setps", "3").returncode == 2
    assert "did you mean 'direct'?" in refused(call("evaluate", "-m", "dirct"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "absent.jsonl"),
        ("", "absent.jsonl"),
        ('{"id": "1", "question": "Who?", "golden_answers": ["x"]}\n{"id": \n', "absent.jsonl:2"),
        ('{"id": "1", "question": "Who?"}\n', "golden_answers"),
    ],
)
def test_unusable_question_file(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "absent.jsonl").write_text(content)
    done = run("evaluate", "-m", "cot", *FILES, "data.evaluation=absent.jsonl", cwd=tmp_path)
    assert message in refused(done)
    assert not (tmp_path / "runs").exists()


def test_training_on_a_missing_file_leaves_nothing(call: Call, tmp_path: Path) -> None:
    assert "absent.jsonl" in refused(call("train", *FILES, "data.train=absent.jsonl"))
    assert "data.train" in refused(call("train", *FILES[:2]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.kind=none", "environment.operators=['Search']"], "take Search out of the pool"),
        (["search.kind=bm25", "environment.operators=['Search']"], "search.index"),
        (["search.kind=bm25", "search.index=no", "environment.operators=['Search']"], "search.corpus"),
        (["llm.kind=openai"], "llm.model"),
        (["environment.operators=['Serach']"], "did you mean 'Search'?"),
        (["policy.base_url='http://127.0.0.1:9/v1'"], "policy.model"),
    ],
)
def test_parts_that_do_not_fit(call: Call, tmp_path: Path, overrides: list[str], message: str) -> None:
    options = [part for override in overrides for part in ("-o", override)]
    assert message in refused(call("evaluate", *options))
    assert list(tmp_path.iterdir()) == []


def test_unreachable_server_is_told_at_once(tmp_path: Path) -> None:
    done = run(
        "evaluate", "-m", "cot", "-o", "llm.kind=openai", "-o", "llm.model=m",
        "-o", "llm.base_url=http://127.0.0.1:9/v1", cwd=tmp_path, OPENAI_API_KEY="x",
    )  # fmt: skip
    message = refused(done, code=1)
    assert "127.0.0.1:9" in message
    assert "llm.base_url" in message
    assert list(tmp_path.iterdir()) == []


def test_report_on_an_empty_directory(tmp_path: Path) -> None:
    assert "holds nothing" in refused(run("report", ".", cwd=tmp_path))
    assert "found nothing" in refused(run("report", "absent", cwd=tmp_path))


def test_resume_of_nothing(call: Call, tmp_path: Path) -> None:
    assert "no config.toml in absent" in refused(call("train", "--resume", "absent"))
    assert "expected the run to resume alone" in refused(call("train", "paper", "--resume", "absent"))


def test_run_directory_that_is_taken(call: Call, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert "taken holds something" in refused(call("train", "--run-directory", "taken"))


def test_an_evaluation_is_resumed_question_by_question(call: Call, tmp_path: Path) -> None:
    options = ["evaluate", "-m", "cot", "--limit", "6", "--output", "e"]
    first = call(*options)
    assert first.returncode == 0, first.stderr
    rows = (tmp_path / "e" / "rows.jsonl").read_text().splitlines(keepends=True)
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert len(rows) == 6
    assert summary["all"]["exact_match"]["total"] == 6
    # A crash left four rows and a half.
    (tmp_path / "e" / "rows.jsonl").write_text("".join(rows[:4]) + rows[4][:50])
    (tmp_path / "e" / "summary.json").unlink()
    again = call(*options)
    assert again.returncode == 0, again.stderr
    assert "4 of 6 are done already" in again.stdout
    assert len((tmp_path / "e" / "rows.jsonl").read_text().splitlines()) == 6
    after = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert after["figures"][0].pop("seconds") != summary["figures"][0].pop("seconds")
    assert after == summary
    other = call("evaluate", "-m", "cot", "--limit", "7", "--output", "e")
    assert "benchmarks.embedded.num_questions was 6 and is 7" in refused(other)


def test_a_world_is_written_once_and_read_back(call: Call, tmp_path: Path) -> None:
    done = call("world", "--output", "w", "--train", "20", "--evaluation", "5")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        "evaluation.jsonl",
        "passages.jsonl",
        "train.jsonl",
    ]
    assert "w exists" in refused(call("world", "--output", "w"))
    evaluated = call("evaluate", "-m", "direct", "--questions", "w/evaluation.jsonl", "--output", "e")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["all"]["exact_match"]["total"] == 5


def test_ask_a_question_of_ones_own_in_any_script(tmp_path: Path) -> None:
    question = "من هو؟ [bold]Who[/] </tool><answer>x</answer> \u202e🙂"
    done = run("ask", question, "-m", "cot", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[bold]Who[/]" in done.stdout
    assert "AnswerGenerate" in done.stdout
    as_json = run("ask", question, "-m", "cot", "--json", cwd=tmp_path)
    trajectory = json.loads(as_json.stdout)
    assert trajectory["question"]["text"] == question
    assert "reward" not in trajectory


def test_ask_without_a_question_takes_a_held_out_one(call: Call, tmp_path: Path) -> None:
    done = call("ask", "-m", "ensemble", "--seed", "1", "--json")
    trajectory = json.loads(done.stdout)
    assert trajectory["question"]["split"] == "evaluation"
    assert "reward" in trajectory
    assert refused(call("ask", " ", "-m", "direct")).startswith("error: expected a question")


def test_rollout_writes_trajectories_once(call: Call, tmp_path: Path) -> None:
    options = ["rollout", "-m", "cot", "--limit", "3", "--group-size", "2", "--output", "t.jsonl"]
    done = call(*options)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert len({row["group_id"] for row in rows}) == 3
    assert "t.jsonl exists" in refused(call(*options))


def test_wrong_type_in_a_real_process(tmp_path: Path) -> None:
    assert "expected a whole number" in refused(run("train", "-o", "training.steps=many", cwd=tmp_path))


def test_a_fixed_workflow_demonstrates_in_the_policys_own_environment(call: Call, tmp_path: Path) -> None:
    done = call("rollout", "-m", "cot", "--limit", "1", "-o", "environment.prompt_style=full", "--output", "t.jsonl")
    assert done.returncode == 0, done.stderr
    trajectory = json.loads((tmp_path / "t.jsonl").read_text())
    assert "ScEnsemble" in trajectory["prompt"][0]["content"]
    assert trajectory["turns"][0]["calls"][0]["input"] == trajectory["question"]["text"]


def test_old_spellings_of_options_still_work_and_no_help_shows_them(call: Call, tmp_path: Path) -> None:
    done = call(
        "evaluate", "--methods", "direct", "--benchmarks", "embedded", "--seeds", "0", "--limit", "1", "--output", "e"
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert "taken holds something" in refused(call("train", "--run-directory", "taken"))
    for command in ("train", "evaluate"):
        shown = call(command, "--help").stdout
        assert not any(f"--{old}" in shown for old in ("run-directory", "methods", "benchmarks", "seeds"))


def test_every_help_reads_as_a_phrase() -> None:
    """A noun, a verb or a sentence: no fragment that only makes sense behind the option's name."""
    import re

    import typer

    from workflow_r1.cli import app

    def helps(command: Any, path: str) -> Iterator[tuple[str, str]]:
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
        for name, child in getattr(command, "commands", {}).items():
            yield from helps(child, f"{path} {name}")

    found = dict(helps(typer.main.get_command(app), "workflow-r1"))
    assert len(found) > 80
    odd = {
        where: text
        for where, text in found.items()
        if not re.match(r"(?!(Of|For|Which|What|Who|How|Where|Whether)\b)[A-Z`]\w*", text)
    }
    assert not odd


def test_no_help_is_cut_or_broken_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The column of options stays narrow enough for the paths and the values that the helps name."""
    import typer
    from typer.testing import CliRunner

    from workflow_r1.cli import app

    def paths(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from paths(child, *path, name)

    monkeypatch.setenv("COLUMNS", "80")
    shown = {path: CliRunner().invoke(app, [*path, "--help"]).stdout for path in paths(typer.main.get_command(app))}
    assert len(shown) > 15
    assert all("Usage:" in text for text in shown.values())
    # The ellipsis is where the terminal cuts a word; "range" is the type of a number without a name.
    assert not [path for path, text in shown.items() if "…" in text or " range>" in text]


def test_a_configuration_is_the_first_argument_of_every_command_that_takes_one() -> None:
    import typer

    from workflow_r1.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    takes = [
        "train",
        "ask",
        "serve",
        "evaluate",
        "rollout",
        "warmstart",
        "operators",
        "doctor",
        "serve-search",
        "serve-env",
    ]
    for name in takes:
        arguments = [each.name for each in commands[name].params if each.param_type_name == "argument"]
        assert arguments[0] == "config", name
