"""A run directory of somebody else's: its effects are listed, and happen only after its user agrees.

The code and the programs that these tests let it name only write a file.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.config import RunConfig, dump_toml, load_run_config
from workflow_r1.errors import UntrustedError
from workflow_r1.running.checks import plan
from workflow_r1.running.configuration import open_config, read_config, run_directory_of
from workflow_r1.running.run_directory import make_run_directory
from workflow_r1.running.trust import check_trust, effects_of, is_trusted, remember, untrusted_effects

PLUGIN = """from pathlib import Path
from workflow_r1.operators import operator

Path({marker!r}).touch()


@operator(purpose="Repeats.")
async def Mine(text: str) -> str:
    return text
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def stranger(tmp_path: Path) -> Callable[..., Path]:
    """A run directory that came from elsewhere, with this TOML in its configuration."""

    def make(text: str = "", name: str = "theirs") -> Path:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.toml").write_text(text)
        return directory

    return make


@pytest.fixture
def with_plugin(stranger: Callable[..., Path], tmp_path: Path) -> Path:
    """Somebody else's run directory with a plug-in in it, which writes ``marker``."""
    directory = stranger('plugins = ["mine.py"]\n')
    (directory / "mine.py").write_text(PLUGIN.format(marker=str(tmp_path / "marker")))
    return directory


def would(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "some.toml"
    file.write_text(text)
    return [effect.does for effect in effects_of(load_run_config(file))]


def test_the_embedded_world_and_files_need_no_trust(tmp_path: Path) -> None:
    assert effects_of(RunConfig()) == []
    assert effects_of(load_run_config("embedded")) == []
    assert would('[search]\nkind = "bm25"\nindex = "i"\n[data]\nsource = "files"\ntrain = "t.jsonl"', tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('plugins = ["a.b"]', "run the Python code of a.b"),
        ('task = "a.b:C"', "run the Python code of the task a.b:C"),
        ('task = "openenv"\n[tasks.openenv]\nurl = "http://u"', "give settings to the task openenv, which may ask addresses"),
        ('[search]\nkind = "callable"\ncallable = {function = "m:f"}', "run the Python function m:f"),
        (
            '[search]\nkind = "mcp"\nmcp = {tool = "t", command = ["prog", "x"], environment = ["SECRET"]}',
            "start the program prog x, which sees SECRET",
        ),
        ('[search]\nkind = "mcp"\nmcp = {tool = "t", url = "http://u/mcp", api_key_env = "K"}', "ask http://u/mcp with the key in the "
         "environment variable K"),
        ('[search]\nkind = "web"\nweb = {}', "ask https://google.serper.dev/search with the key in the environment variable "
         "SERPER_API_KEY"),
        ('[search]\nkind = "server"\nserver = {url = "http://me:pw@u"}', "ask http://u"),
        ('[llm]\nkind = "openai"\nmodel = "m"', "ask OpenAI's own address with the key in OPENAI_API_KEY"),
        ('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://u"', "ask http://u with the key in the environment variable OPENAI_API_KEY"),
        ('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://u"\napi_key_env = "AWS"', "ask http://u with the key in the "
         "environment variable AWS"),
        (
            '[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://u"\n[llm.endpoints.far]\nbase_url = "http://v"\n'
            'api_key_env = "K"\n[llm.roles]\ndefault = ["far"]',
            "ask http://v with the key in the environment variable K",
        ),
        ('[policy]\nbase_url = "http://u"', "ask http://u with the key in the environment variable OPENAI_API_KEY"),
        ('[sampling.server]\nbase_url = "http://u"', "ask http://u"),
        ('[methods.medprompt_knn.embeddings]\nbase_url = "http://u"\nmodel = "m"', "ask http://u with the key in the "
         "environment variable OPENAI_API_KEY"),
        ('[operators.Weather]\nurl = "http://u"', "give settings to the operator Weather, if it is installed here"),
        ('engine = "verl"\n[verl.options]\n"a.external_lib" = "m"', "set verl's option a.external_lib"),
        ('[logging]\nwandb_project = "p"', "send figures to the project p of Weights & Biases"),
    ],
)  # fmt: skip
def test_everything_that_reaches_out_is_listed(text: str, told: str, tmp_path: Path) -> None:
    assert told in would(text, tmp_path)


def _sections(record, location=()):
    from pydantic import BaseModel

    for name, field in type(record).model_fields.items():
        for kind in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield (*location, name), kind
                yield from _sections(kind.model_construct(), (*location, name))


def test_every_variable_of_a_key_that_a_configuration_can_name_is_asked_about(tmp_path: Path) -> None:
    """Whoever adds a service gets the question: every field that ends in ``_env`` is called ``api_key_env``."""
    found = [(".".join(place), kind) for place, kind in _sections(RunConfig())]
    named = [f"{place}.{name}" for place, kind in found for name in kind.model_fields if name.endswith("_env")]
    assert {name.rpartition(".")[2] for name in named} == {"api_key_env"}
    assert len(named) >= 7


def test_a_strangers_run_is_refused_until_it_is_trusted(with_plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UntrustedError, match=r"was not made here by you.*\n +run the Python code of .*mine\.py\n.*--trust"
    ):
        open_config(str(with_plugin))
    with pytest.raises(UntrustedError):
        open_config(str(with_plugin / "config.toml"))
    assert open_config(str(with_plugin), trust=True).plugins == (str(with_plugin / "mine.py"),)
    assert open_config(str(with_plugin)).plugins
    assert not (tmp_path / "marker").exists()


def test_the_code_of_a_strangers_task_is_not_run(stranger: Callable[..., Path], tmp_path: Path) -> None:
    directory = stranger('task = "mine.py:Game"\n')
    (directory / "mine.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'marker')!r}).touch()\n")
    with pytest.raises(UntrustedError, match=r"would\n +run the Python code of the task .*mine\.py:Game\n"):
        open_config(str(directory))
    config = read_config(str(directory))
    assert not config.is_simulation
    assert {"task", "operators"}.isdisjoint(plan(config, directory=directory))
    assert not (tmp_path / "marker").exists()


def test_what_was_changed_or_moved_since_is_asked_about_again(with_plugin: Path, tmp_path: Path) -> None:
    remember(with_plugin)
    code = with_plugin / "mine.py"
    code.write_text(code.read_text() + "# more\n")
    with pytest.raises(UntrustedError, match="was changed since you trusted it"):
        open_config(str(with_plugin))
    remember(with_plugin)
    with (with_plugin / "config.toml").open("a") as file:
        file.write('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://u"\n')
    with pytest.raises(UntrustedError, match="ask http://u"):
        open_config(str(with_plugin))
    remember(with_plugin)
    shutil.move(with_plugin, tmp_path / "moved")
    with pytest.raises(UntrustedError, match="not made here"):
        open_config(str(tmp_path / "moved"))


def test_a_run_that_is_made_here_is_trusted_and_the_embedded_one_leaves_no_record(tmp_path: Path, state: Path) -> None:
    (tmp_path / "run.toml").write_text('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://u"\n')
    made = make_run_directory(load_run_config(tmp_path / "run.toml"), tmp_path / "made")
    assert open_config(str(made)).llm.base_url == "http://u"
    assert (state / "workflow-r1").stat().st_mode & 0o077 == 0 or len(list(state.rglob("*.json"))) == 1
    make_run_directory(RunConfig(), tmp_path / "plain")
    assert len(list(state.rglob("*.json"))) == 1
    assert open_config(str(tmp_path / "plain")).name == "embedded"


def test_a_file_that_a_person_names_is_trusted_as_a_makefile_is(with_plugin: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    (with_plugin / "config.toml").rename(file)
    assert open_config(str(file)).plugins
    assert run_directory_of(str(file)) is None
    assert run_directory_of("embedded") is None


def test_what_the_command_line_decides_is_the_users_own(stranger: Callable[..., Path]) -> None:
    theirs = stranger('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://theirs"\n')
    open_config(str(theirs), ["llm.base_url=http://mine"])
    assert open_config(str(theirs), ["llm={}"]).llm.kind == "embedded"
    with pytest.raises(UntrustedError):
        open_config(str(theirs), ["llm.model=other"])
    # Their variable would go to my address: nobody but me can say that it may.
    key = stranger('[llm]\nkind = "openai"\nmodel = "m"\nbase_url = "http://theirs"\napi_key_env = "AWS"\n', "key")
    with pytest.raises(UntrustedError, match="AWS"):
        open_config(str(key), ["llm.base_url=http://mine"])


def test_a_strangers_file_cannot_forge_lines_of_the_question(stranger: Callable[..., Path]) -> None:
    theirs = stranger('plugins = ["a\\n  nothing else"]\n')
    with pytest.raises(UntrustedError, match="run the Python code of a nothing else\n"):
        open_config(str(theirs))


def test_a_home_that_cannot_be_written_stops_no_run(
    with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert open_config(str(with_plugin), trust=True).plugins
    assert not is_trusted(with_plugin)
    with pytest.raises(UntrustedError):
        check_trust(with_plugin, load_run_config(with_plugin / "config.toml"))


def test_a_user_without_a_home_is_asked_each_time_and_no_run_stops(
    with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    remember(with_plugin)
    assert not is_trusted(with_plugin)
    with pytest.raises(UntrustedError, match="was not made here by you"):
        open_config(str(with_plugin))
    open_config(str(with_plugin), trust=True)


@pytest.mark.parametrize("linked", ["config.toml", ""])
def test_a_link_to_a_strangers_run_is_the_run(linked: str, with_plugin: Path, tmp_path: Path) -> None:
    link = tmp_path / "mine.toml"
    link.symlink_to(with_plugin / linked)
    with pytest.raises(UntrustedError):
        open_config(str(link))


def test_a_damaged_record_is_none(with_plugin: Path, state: Path) -> None:
    remember(with_plugin)
    (record,) = state.rglob("*.json")
    for text in ("", "[]", "{}", json.dumps({"directory": str(with_plugin)}), "\x00"):
        record.write_text(text)
        assert not is_trusted(with_plugin)


def test_every_record_is_of_one_directory(stranger: Callable[..., Path]) -> None:
    first, second = stranger('plugins = ["a.b"]\n', "first"), stranger('plugins = ["a.b"]\n', "second")
    remember(first)
    assert untrusted_effects(first, load_run_config(first / "config.toml")) == []
    assert untrusted_effects(second, load_run_config(second / "config.toml"))


COMMANDS = {
    "ask": ("ask", "Who?", "-c", "DIR", "--no-save"),
    "evaluate": ("evaluate", "DIR"),
    "evaluate --methods": ("evaluate", "--methods", "theirs=DIR"),
    "demonstrate": ("demonstrate", "DIR", "--output", "made.jsonl"),
    "frontier": ("frontier", "DIR"),
    "serve": ("serve", "DIR"),
    "serve-search": ("serve-search", "DIR"),
    "serve-env": ("serve-env", "DIR"),
    "train": ("train", "DIR"),
    "train --resume": ("train", "--resume", "DIR"),
    "warmstart": ("warmstart", "DIR"),
    "rollout": ("rollout", "DIR"),
    "rescore": ("rescore", "DIR", "-o", "reward=f1"),
    "world": ("world", "DIR"),
    "operators": ("operators", "-c", "DIR"),
    "tasks": ("tasks", "DIR"),
    "graph": ("graph", "show", "graph.json", "-c", "DIR"),
}
"""Every command that acts on a configuration."""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_a_strangers_code(command: str, with_plugin: Path, call: Callable, tmp_path: Path) -> None:
    done = call(*(word.replace("DIR", str(with_plugin)) for word in COMMANDS[command]))
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert not (tmp_path / "marker").exists()


def test_every_command_that_takes_a_configuration_is_in_the_list_or_only_reads() -> None:
    import inspect

    from workflow_r1.cli.application import app

    takes = {
        function.__name__.replace("_", "-")
        for command in app.registered_commands
        if (function := command.callback) is not None and "override" in inspect.signature(function).parameters
    }
    assert takes - {name.split()[0] for name in COMMANDS} == {"doctor"}


def test_a_study_runs_no_strangers_code(with_plugin: Path, call: Callable, tmp_path: Path) -> None:
    """Its file is the user's own, and may start from somebody else's run."""
    arms = "[arms.one]\n[arms.other]\n"
    (tmp_path / "study.toml").write_text(f'name = "s"\nconfig = {json.dumps(str(with_plugin))}\n{arms}')
    done = call("study", tmp_path / "study.toml", "--dry-run")
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert not (tmp_path / "marker").exists()


def test_trust_runs_it(with_plugin: Path, call: Callable, tmp_path: Path) -> None:
    assert call("operators", "-c", with_plugin, "--trust").returncode == 0
    assert (tmp_path / "marker").exists()
    assert call("operators", "-c", with_plugin).returncode == 0


def test_looking_at_a_strangers_run_runs_nothing(
    with_plugin: Path, call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (with_plugin / "config.toml").open("a") as file:
        program = f"open({str(tmp_path / 'program')!r}, 'w')"
        file.write(f'[search]\nkind = "mcp"\nmcp = {{tool = "t", command = [{sys.executable!r}, "-c", "{program}"]}}\n')
    done = call("doctor", with_plugin)
    found = " ".join(done.stdout.split())
    assert "was not made here by you" in found
    assert "mine.py" in found
    assert not any(line.split()[1:2] == ["operators"] for line in done.stdout.splitlines())
    call("report", with_plugin)
    call("export", "inspect", with_plugin)
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "program").exists()


def test_a_configuration_is_the_same_with_and_without_trust(stranger: Callable[..., Path]) -> None:
    theirs = stranger(dump_toml(RunConfig(name="n", seed=3)))
    assert open_config(str(theirs)) == load_run_config(theirs / "config.toml")
