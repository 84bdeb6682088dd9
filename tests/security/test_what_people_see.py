"""docs/explanation/security.md, "What people look at": the terminal, the report, its pictures, and messages in a log."""

import json
import re
import time
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from workflow_r1.config import RunConfig, dump_toml
from workflow_r1.errors import ServiceError
from workflow_r1.printable import printable
from workflow_r1.reports import draw_curve, read_run, write_summary
from workflow_r1.reports.summary import escape_markdown, show_trajectory
from workflow_r1.services.secrets import mask_addresses
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn, append_trajectories

ESCAPES = (
    "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x1b]8;;http://evil.example\x1b\\here\x9b31m\r\b\u202egnp.exe\ud800"
)
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)> ![p](http://evil.example/p.png) [a](javascript:alert(1)) | x `c`"


def show(renderable: object, **options: object) -> str:
    from workflow_r1.running.terminal import Terminal

    file = StringIO()
    Terminal(file=file, force_terminal=True, color_system="truecolor", width=200).print(renderable, **options)
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------- terminal


def test_nothing_that_a_terminal_acts_on_gets_out() -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column(Text(ESCAPES))
    table.add_row(Text(ESCAPES))
    for thing in (Text(ESCAPES, style="bold red"), Panel(Text(ESCAPES), title=Text(ESCAPES)), table, ESCAPES):
        shown = show(thing, **({"markup": False} if isinstance(thing, str) else {}))
        colours = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # What rich itself sends for the styles.
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", colours)
        assert "␛" in colours


def test_markup_in_outside_text_is_text() -> None:
    from rich.text import Text

    assert "[bold]x[/] [link=http://evil]y[/]" in show(Text("[bold]x[/] [link=http://evil]y[/]"))


def test_every_command_writes_to_the_terminal_that_cleans() -> None:
    commands = Path(__file__).parents[2] / "src" / "workflow_r1" / "cli"
    makers = [path.name for path in commands.glob("*.py") if re.search(r"(?<![\w\".])Console\(", path.read_text())]
    assert makers == []


def test_printable_keeps_text_of_every_language() -> None:
    for text in ("a\tb\nc", "مرحبا بالعالم\u200f", "می\u200cخواهم", "👨‍👩‍👧", "naïve ﬁne"):
        assert printable(text) == text
    assert printable("a\r\nb\x1b\x7f\x9b\u202e") == "a\nb␛␡\ufffd\ufffd"


def test_an_error_on_the_command_line_is_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workflow_r1.cli import application

    with pytest.raises(SystemExit):
        application._leave(ServiceError(f"the server says {ESCAPES}"))
    assert "\x1b]" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ report


def hostile_trajectory() -> Trajectory:
    call = OperatorCall(operator="Search", input=HTML, observation=f"{HTML}\n```\n# heading\n{ESCAPES}", valid=True)
    return Trajectory(
        id="t",
        group_id="g",
        question=Question(id="../../etc/passwd", text=f"{HTML}\n# heading", golden_answers=(HTML,)),
        turns=(Turn(index=1, text=f"<think>{HTML}</think><tool>Search: x</tool>", well_formed=True, calls=(call,)),),
        answer=HTML,
        stop_reason=StopReason.ANSWERED,
    )


def hostile_run(directory: Path, *, base_url: str | None = None) -> Path:
    directory.mkdir()
    config = RunConfig(name="test")
    if base_url is not None:
        config = config.model_copy(
            update={"llm": config.llm.model_copy(update={"kind": "openai", "base_url": base_url, "model": "m"})}
        )
    (directory / "config.toml").write_text(dump_toml(config))
    row = {"step": 1, "rollout/reward": 0.1, "rollout/exact_match": 0.2, f"rollout/calls/{HTML}": 1.0}
    (directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    figures = {"exact_match": 0.5, "exact_match_low": 0.4, "exact_match_high": 0.6}
    evaluation = {
        f"{prefix}/{key}": value
        for prefix in ("evaluation", f"evaluation/class/{HTML}")
        for key, value in figures.items()
    }
    (directory / "evaluations.jsonl").write_text(json.dumps({"step": 1, **evaluation}) + "\n")
    append_trajectories(directory / "trajectories.jsonl", [hostile_trajectory()])
    return directory


def rendered(markdown: str) -> str:
    markdown_it = pytest.importorskip("markdown_it")
    return str(markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def test_no_html_picture_or_link_of_outside_text_is_in_a_rendered_report(tmp_path: Path) -> None:
    page = rendered(write_summary(read_run(hostile_run(tmp_path / "run"))) + show_trajectory(hostile_trajectory()))
    assert "<script" not in page
    assert "<img" not in page
    assert "<a " not in page
    assert page.count("<h1>") == 1
    assert "&lt;script&gt;" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)


def test_escaping_is_undone_by_rendering() -> None:
    assert rendered(escape_markdown("a_b *c* <d> & $e$ [f](g) `h` ~i~ \\ | j")) == (
        "<p>a_b *c* &lt;d&gt; &amp; $e$ [f](g) `h` ~i~ \\ | j</p>\n"
    )


def test_a_name_in_the_picture_is_escaped_in_the_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = draw_curve(read_run(hostile_run(tmp_path / "run")))
    svg = next(path for path in paths if path.suffix == ".svg").read_text()
    assert "<script" not in svg
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert not names & {"script", "image", "a", "foreignObject"}


# ----------------------------------------------------------------------------------------------------------- secrets


def test_no_login_in_what_is_shared(tmp_path: Path) -> None:
    page = write_summary(
        read_run(hostile_run(tmp_path / "run", base_url="http://me:hunter2@llm.example/v1?api_key=sk-1"))
    )
    assert "hunter2" not in page
    assert "sk-1" not in page
    assert "llm.example/v1" in page


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://me:pw@host/v1", "http://host/v1"),
        (
            "llm.base_url=https://token@host:8000/v1?api_key=abc&x=1",
            "llm.base_url=https://host:8000/v1?api_key=***&x=1",
        ),
        ('{"base_url": "http://a:b@c/", "key": "x"}', '{"base_url": "http://c/", "key": "x"}'),
        ("mail me@host, see http://host/@name", "mail me@host, see http://host/@name"),
    ],
)
def test_mask_addresses(text: str, left: str) -> None:
    assert mask_addresses(text) == left


def test_a_whole_query_is_masked_where_nothing_is_known_of_it() -> None:
    text = "no reply from http://me:p@ss@host/v1?q=abc#d, see 'https://host/?x' and why?"
    assert mask_addresses(text, whole_query=True) == "no reply from http://host/v1?*** see 'https://host/?***' and why?"


@pytest.mark.parametrize("unit", ["http://", "http://a@", "?key=", "://", "https://a?"])
def test_masking_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    mask_addresses(unit * 100_000)
    mask_addresses(unit * 100_000, whole_query=True)
    assert time.process_time() - started < 5


def test_the_record_of_the_command_holds_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    from workflow_r1.running.run_directory import describe_environment

    monkeypatch.setattr("sys.argv", ["workflow-r1", "train", "-o", "llm.base_url=http://me:hunter2@host/v1"])
    assert "hunter2" not in json.dumps(describe_environment())
