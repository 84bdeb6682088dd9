"""docs/explanation/security.md, "Files from others": JSON and TOML that is nested too deep or counts too far, names, pickles, code."""

import json
from pathlib import Path

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.data import load_questions
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.errors import ConfigError, DataError, UserError
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.reports import read_run
from workflow_r1.retrieval.corpus import iterate_corpus
from workflow_r1.trajectory import load_trajectories

BOMBS = {"deep": "[" * 200_000, "long number": '{"id": ' + "9" * 100_000 + "}", "deep object": '{"a":' * 100_000}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_questions_that_cannot_be_read_are_one_message(tmp_path: Path, bomb: str, suffix: str) -> None:
    file = tmp_path / f"questions{suffix}"
    file.write_text(BOMBS[bomb])
    with pytest.raises(DataError, match="expected"):
        load_questions(file)


@pytest.mark.parametrize("bomb", BOMBS)
def test_so_are_corpora_trajectories_and_runs(tmp_path: Path, bomb: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(BOMBS[bomb] + "\n")
    with pytest.raises(DataError, match="expected"):
        list(iterate_corpus(file))
    with pytest.raises(DataError, match="expected"):
        load_trajectories(file)
    file.rename(tmp_path / "metrics.jsonl")
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(DataError, match="expected"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["a = " + "[" * 200_000, "a = " + "9" * 100_000, "a = " + "{b=" * 100_000])
def test_so_is_a_configuration(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="expected TOML"):
        load_run_config(file)


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "a/b\0c", "..\\..\\outside", "." * 300])
def test_an_id_never_becomes_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import asyncio

    from workflow_r1.rollout import rollout_groups
    from workflow_r1.rollout.doubles import ScriptedPolicy
    from workflow_r1.trajectory import append_trajectories

    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    Path("q.jsonl").write_text(json.dumps({"id": name, "question": "Who?", "golden_answers": ["a"], "dataset": name}))

    def make(question):
        return QuestionEnvironment(
            question, config=EnvironmentConfig(operators=()), operators=OPERATORS, services=OperatorServices()
        )

    groups = asyncio.run(
        rollout_groups(
            load_questions("q.jsonl"),
            policy=ScriptedPolicy(["<think>t</think><answer>a</answer>"]),
            make_environment=make,
            group_size=1,
            seed=0,
            max_concurrency=1,
        )
    )
    append_trajectories("t.jsonl", groups[0])
    assert load_trajectories("t.jsonl")[0].question.id == name.strip()
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "a",
        "a/b",
        "a/b/q.jsonl",
        "a/b/t.jsonl",
    }


class Exploit:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_a_checkpoint_is_read_without_running_anything(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from workflow_r1.engines.native import checkpoint

    torch.save({"optimiser": Exploit()}, tmp_path / "tensors.pt")
    from safetensors.torch import save_file

    save_file({}, tmp_path / "weights.safetensors")
    with pytest.raises(checkpoint._DamagedError, match="Weights only load failed"):
        checkpoint._restore(tmp_path, {}, torch.nn.Linear(1, 1), None)


def test_neither_is_an_index(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "offsets.npy", np.array([Exploit()], dtype=object), allow_pickle=True)
    from workflow_r1.retrieval.index_files import StoredPassages

    with pytest.raises(ValueError, match="Python objects"):
        StoredPassages(tmp_path)


def test_a_model_brings_no_code_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from workflow_r1.policy.model import load_tokenizer

    code = f"from pathlib import Path\nPath({str(tmp_path / 'run')!r}).touch()\nclass T: pass\n"
    (tmp_path / "evil.py").write_text(code)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.T"}}))
    auto_map = {"AutoTokenizer": ["evil.T", None]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T", "auto_map": auto_map}))
    with pytest.raises(UserError, match="expected a tokenizer"):
        load_tokenizer(str(tmp_path))
    assert not (tmp_path / "run").exists()
