"""A task is found by name, by file and by entry point, and gets its settings."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from workflow_r1.assembly.tasks import build_environments, build_task
from workflow_r1.config import dump_toml, load_run_config
from workflow_r1.environment import EnvironmentConfig
from workflow_r1.errors import ConfigError
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.tasks import finding

GAME = """
from pathlib import Path
from workflow_r1.tasks import Episode, Task, TaskSettings


class Settings(TaskSettings):
    highest: int = 20
    words: Path | None = None
    levels: tuple[int, ...] = (1,)


class Game(Task):
    name = "game"
    Settings = Settings

    def instances(self, split, num):
        return []

    def open(self, instance, services):
        raise NotImplementedError


class Nameless(Task):
    instances = Game.instances
    open = Game.open


class Unfinished(Task):
    name = "unfinished"


class Picky(Game):
    name = "picky"

    def __init__(self, settings):
        raise ValueError("there is no board")
"""


@pytest.fixture
def configure(tmp_path: Path):
    (tmp_path / "games.py").write_text(GAME)

    def make(*overrides: str, task: str = "games.py:Game"):
        file = tmp_path / "run.toml"
        file.write_text(f'task = "{task}"\n')
        return load_run_config(file, overrides)

    return make


def test_a_file_is_relative_to_the_toml_file_and_has_its_own_table(configure, tmp_path):
    config = configure("tasks.game.highest=7", "tasks.game.levels=[1, 2]", "tasks.game.words=list.txt")
    assert config.task == f"{tmp_path / 'games.py'}:Game"
    task = build_task(config.chosen_task)
    assert task.settings.model_dump() == {"highest": 7, "words": Path("list.txt"), "levels": (1, 2)}
    assert build_task(config.chosen_task) is task  # Made once.
    again = tmp_path / "again.toml"
    again.write_text(dump_toml(config))
    assert load_run_config(again) == config


def test_a_task_has_no_operators_unless_they_are_named(configure):
    assert configure().environment.operators == ()
    assert configure("environment.max_turns=3").environment.operators == ()
    assert configure("environment.operators=['Search']").environment.operators == ("Search",)
    assert load_run_config(None).environment.operators
    assert load_run_config("embedded", ["task=textarena"]).environment.operators == ()
    assert load_run_config(
        "embedded", ["task=textarena", "environment.operators=['Search']"]
    ).environment.operators == ("Search",)
    assert load_run_config("embedded", ["task=qa"]) == load_run_config("embedded")


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("games.py:Game", ["tasks.game.higest=3"], r"tasks\.game\.higest: unknown key; did you mean 'highest'\?"),
        (
            "games.py:Game",
            ["tasks.game.highest=many"],
            r"tasks\.game\.highest: Input should be a valid integer, received 'many'",
        ),
        ("games.py:Game", ["tasks.game.highest=true"], r"tasks\.game\.highest: Input should be a valid integer"),
        (
            "games.py:Game",
            ["tasks.gaem.highest=3"],
            r"tasks\.gaem: expected settings of the task 'game' alone.*did you mean 'game'",
        ),
        ("games.py:Gmae", [], r"task: expected 'Gmae' in .*games\.py, found no such name; did you mean 'Game'\?"),
        ("nowhere.py:Game", [], r"task: expected a Python file, found nothing at"),
        ("games.py:Path", [], r"task: expected a class of a task at .*; name a subclass of workflow_r1\.tasks\.Task"),
        ("games.py:Nameless", [], r"task: expected a name, as in .* found none in Nameless"),
        ("games.py:Unfinished", [], r"task: expected instances, open in Unfinished"),
        ("games.py:Picky", [], r"task picky: .*games\.py:\d+: .*ValueError: there is no board"),
        ("textarean", [], r"task: expected one of qa, .*received 'textarean'; did you mean 'textarena'\?"),
        ("zzz", [], r"received 'zzz'; a task of your own is path/to/file\.py:Class"),
        ("qa", ["tasks.game.highest=3"], r'tasks\.game: expected no settings with task = "qa"'),
    ],
)
def test_what_does_not_fit_is_refused(configure, task, overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_task(configure(*overrides, task=task).chosen_task)


def test_code_that_cannot_be_imported_is_named_by_its_line(configure, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match=r"nothing_of_this_name.*not installed"):
        build_task(configure(task="broken.py:Game").chosen_task)
    (tmp_path / "wrong.py").write_text("x = 1\ny = 1 / 0\n")
    with pytest.raises(ConfigError, match=r"wrong\.py:2: .*ZeroDivisionError"):
        build_task(configure(task="wrong.py:Game").chosen_task)


def test_an_installed_task_has_a_name(monkeypatch):
    entry = EntryPoint("guess", "number_game:GuessTheNumber", finding.ENTRY_POINTS)
    monkeypatch.setattr(finding, "entry_points", lambda group: [entry] if group == finding.ENTRY_POINTS else [])
    assert finding.make_task("guess", {"guess": {"highest": 9}}).settings.highest == 9
    broken = EntryPoint("bad", "number_game:Nobody", finding.ENTRY_POINTS)
    monkeypatch.setattr(finding, "entry_points", lambda group: [broken])
    with pytest.raises(ConfigError, match=r"task: entry point bad \(number_game:Nobody\): .*AttributeError"):
        finding.find_task("bad")


def test_plain_text_leaves_no_place_for_operators():
    from number_game import task_of

    with pytest.raises(
        ConfigError, match=r"environment\.operators: expected none, since the task one-move takes plain text"
    ):
        build_environments(
            task_of(None, action_format="text"),
            EnvironmentConfig(operators=("Search",)),
            operators=OPERATORS,
            services=OperatorServices(),
        )
