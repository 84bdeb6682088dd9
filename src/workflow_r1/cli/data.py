"""``workflow-r1 data``: benchmarks and files of questions."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import AsJSON, Overrides, Source, Trust
from workflow_r1.errors import DataError, UserError
from workflow_r1.nearest import did_you_mean

if TYPE_CHECKING:
    from workflow_r1.data import FileFormat, QuestionField
    from workflow_r1.running.audit import Audit
    from workflow_r1.trajectory import Question

data = typer.Typer(name="data", help="List, fetch, convert, check and audit questions.", no_args_is_help=True)

SHOWN_IDS = 3
"""Ids named for each finding."""

Data = Annotated[
    Path, typer.Option("--data", "-d", metavar="DIR", help="Directory of fetched questions, in eval/ and train/.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=COLUMN",
        help="Column of id, question, golden_answers, dataset or split in the files, e.g. question=query; dots lead into "
        "nested objects. Repeatable.",
    ),
]
Format = Annotated[str, typer.Option(help="Format of the files: auto (by the name), jsonl, json, csv, tsv or parquet.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of questions.")]


@data.command("list")
def list_benchmarks(data: Data = Path("data")) -> None:
    """Show the benchmarks: their sources, and the files that are here."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.data import BENCHMARKS
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    rows = []
    for benchmark in BENCHMARKS.values():
        split = benchmark.default_split
        here = [
            f"{_num_lines(path):,} in {path}"
            for each in benchmark.splits
            if (path := benchmark.path_in(data, each)).is_file()
        ]
        published = f"{benchmark.file_of(split).questions:,}"
        if draw := benchmark.drawn(split):
            published = f"{draw.size:,} of {published}"
        rows.append((benchmark.name, split, published, benchmark.repository, benchmark.licence, "; ".join(here) or "-"))
    print_table(console, "benchmarks", ("name", "split", "questions", "repository", "licence", "here"), rows)
    console.print("citations and download: `workflow-r1 data fetch --help`, docs/how-to/benchmarks.md")


@data.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Benchmarks, or all.", show_default=False)
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to fetch: train, dev or test. Default: the split of the reported figures.",
            show_default=False,
        ),
    ] = None,
    data: Data = Path("data"),
    revision: Annotated[
        str | None,
        typer.Option(help="Commit or branch of the repository in place of the one in our table.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch files again that are here already.")] = False,
) -> None:
    """Download benchmarks from the Hugging Face hub, and write them as JSONL with a record of their source."""
    from workflow_r1.data import BENCHMARKS, load_questions
    from workflow_r1.data.hub import check_source, fetch_benchmark, read_source
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    for name in _chosen(names or []):
        benchmark = BENCHMARKS[name]
        wanted = split or benchmark.default_split
        benchmark.file_of(wanted)
        path = benchmark.path_in(data, wanted)
        before = read_source(path) if path.is_file() and not force else None
        if path.is_file() and not force:
            check_source(path, load_questions(path))
            known = f"fingerprint {before.fingerprint[:16]}" if before else "not fetched by this command"
            console.print(f"{name}: {path} is here ({known}); --force fetches it again", markup=False, soft_wrap=True)
            continue
        console.print(f"{name}: {benchmark.file_of(wanted).path} of {benchmark.repository}", markup=False)
        source = fetch_benchmark(benchmark, wanted, data, revision=revision)
        drawn = "" if source.draw_seed is None else f" of {source.num_published:,}, drawn with seed {source.draw_seed}"
        console.print(
            f"{name}: {source.num_questions:,} questions{drawn} in {path}\n"
            f"  commit {source.revision}, fingerprint {source.fingerprint[:16]}\n"
            f"  licence {benchmark.licence}; cite {benchmark.citation}",
            markup=False,
            soft_wrap=True,
        )


@data.command()
def convert(
    files: Files,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="JSONL of questions; must not exist yet.")],
    column: Columns = None,
    format: Format = "auto",
    dataset: Annotated[str | None, typer.Option(help="Name for all questions.", show_default=False)] = None,
    split: Annotated[str | None, typer.Option(help="Split of all questions.", show_default=False)] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Leave out the questions that this file asks too. Repeatable.", show_default=False
        ),
    ] = None,
    draw: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Draw N questions, as pandas' sample does.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of --draw.")] = 42,
    prefix_ids: Annotated[bool, typer.Option("--prefix-ids", help="Make every id dataset/id.")] = False,
    drop_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="Leave out rows that say the same as an earlier one, ids included."),
    ] = False,
) -> None:
    """Write questions of any published or own layout as one JSONL file; ids of several datasets become dataset/id."""
    from workflow_r1.data import Draw, draw_questions, fingerprint, load_questions, mix, overlaps, save_questions
    from workflow_r1.running.terminal import Terminal

    if output.exists():
        raise UserError(f"expected a new file, but {output} exists; choose another --output")
    columns, file_format = _columns(column), _format(format)
    parts = (
        load_questions(
            file,
            format=file_format,
            columns=columns,
            dataset=dataset,
            split=split,
            prefix_ids=prefix_ids,
            drop_duplicates=drop_duplicates,
        )
        for file in files
    )
    questions = mix(parts, drop_duplicates=drop_duplicates)
    for file in without or []:
        shared = {id for _, id in overlaps(load_questions(file), questions)}
        questions = [question for question in questions if question.id not in shared]
    if not questions:
        raise DataError("expected at least one question that is not in the files of --without, found none")
    if draw is not None:
        questions = draw_questions(questions, Draw(size=draw, seed=seed))
    output.parent.mkdir(parents=True, exist_ok=True)
    save_questions(output, questions)
    Terminal().print(
        f"{len(questions):,} questions in {output}, fingerprint {fingerprint(questions)[:16]}",
        markup=False,
        soft_wrap=True,
    )


@data.command()
def check(
    files: Files,
    column: Columns = None,
    format: Format = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Leave with code 2 where there are duplicates or overlaps.")
    ] = False,
) -> None:
    """Count questions, find duplicates, empty answers and overlaps between files, and compare with the recorded source."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.data import BENCHMARKS, load_questions, overlaps, report_questions
    from workflow_r1.data.hub import check_source
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    columns, file_format = _columns(column), _format(format)
    loaded: dict[Path, list[Question]] = {}
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    findings: list[str] = []
    for file in files:
        loaded[file] = questions = load_questions(file, format=file_format, columns=columns)
        source = check_source(file, questions)
        report = report_questions(questions)
        repeated = sum(len(ids) - 1 for ids in report.duplicates)
        rows.append(
            (
                str(file),
                f"{report.num_questions:,}",
                f"{report.num_answers:,}",
                f"{report.yes_or_no:,}",
                f"{repeated:,}",
                f"{len(report.empty_answers):,}",
                report.fingerprint[:16],
            )
        )
        for (name, its_split), number in report.datasets.items():
            notes.append(f"{file}: {number:,} of {name or 'no dataset'}{f', {its_split}' if its_split else ''}")
            benchmark = BENCHMARKS.get(name)
            known = benchmark.splits.get(its_split) if benchmark is not None else None
            if known is not None and known.questions != number:
                notes[-1] += f" (published: {known.questions:,}; a figure on a part is a figure on that part)"
        if source is not None:
            notes.append(f"{file}: as fetched from {source.repository} at {source.revision}")
        if report.duplicates:
            findings.append(
                f"{file}: {repeated} repeated questions, e.g. {_some('; '.join(d) for d in report.duplicates)}"
            )
        if report.empty_answers:
            notes.append(f"{file}: {report.emptied_note()}")
        if report.lists_as_text:
            notes.append(
                f"{file}: {len(report.lists_as_text)} questions have a golden answer that looks like a list and is compared as "
                f"text: {_some(report.lists_as_text)}; write several answers as a JSON list"
            )
    for number, (first, questions) in enumerate(loaded.items()):
        for second in list(loaded)[number + 1 :]:
            if same := overlaps(questions, loaded[second]):
                pairs = _some(f"{one} = {other}" for one, other in same)
                findings.append(f"{first} and {second} share {len(same)} questions, e.g. {pairs}")
    header = ("file", "questions", "answers", "yes or no", "repeated", "empty answers", "fingerprint")
    print_table(console, "questions", header, rows)
    for line in notes:
        console.print(line, markup=False, soft_wrap=True)
    for line in findings or ["no question comes twice"]:
        console.print(line, style="yellow" if findings else "", markup=False, soft_wrap=True)
    if strict and findings:
        raise DataError(
            f"expected no question twice, found {len(findings)} of the above; `workflow-r1 data convert` with --without "
            "leaves out what another file asks"
        )


@data.command()
def audit(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            "--questions",
            metavar="FILE",
            help="Questions in place of the configuration's training and held-out ones. Repeatable.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask only the first N of each file.", show_default=False)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the questions whose answer Search shows as JSONL; must not exist yet.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Count the questions whose gold answer and titles the configured search finds, and shows the policy as it cuts them."""
    import json

    from workflow_r1.data import load_questions, save_questions
    from workflow_r1.running.audit import audit as carry_out
    from workflow_r1.running.configuration import open_config, open_questions
    from workflow_r1.running.parts import train_questions
    from workflow_r1.running.terminal import Terminal

    if keep is not None and keep.exists():
        raise UserError(f"expected a new file, but {keep} exists; choose another --keep")
    settings = open_config(config, override, trust=trust)
    if questions:
        asked = [question for file in questions for question in load_questions(file)[:limit]]
    else:
        train = train_questions(settings)[:limit] if settings.data.train is not None else []
        asked = [*train, *open_questions(settings, limit)]
    with Terminal(stderr=True).status("searching") as status:
        done = carry_out(
            settings, asked, on_progress=lambda num: status.update(f"searching: {num:,} of {len(asked):,} questions")
        )
    if keep is not None:
        if not done.shown:
            raise DataError(
                "expected at least one question whose answer Search shows, found none; --keep writes no empty file"
            )
        keep.parent.mkdir(parents=True, exist_ok=True)
        save_questions(keep, done.shown)
    if as_json:
        typer.echo(json.dumps(done.as_json(), ensure_ascii=False, indent=2))
    else:
        _show_audit(done, keep)


def _show_audit(done: "Audit", keep: Path | None) -> None:
    from workflow_r1.cli.tables import print_table
    from workflow_r1.running.audit import RANKS
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    rows = []
    for row in done.rows:
        num = row.questions - row.yes_or_no

        def share(count: int | None, of: int = num) -> str:
            return f"{count / of:.3f}" if count is not None and of else "-"

        answers = " ".join(share(count) for count in row.answer_in_top.values())
        titles = " ".join(share(count, row.with_titles) for count in row.titles_in_top.values())
        rows.append(
            (
                f"{row.dataset or '-'} {row.split}".strip(),
                f"{row.questions:,}",
                f"{row.yes_or_no:,}",
                share(row.answer_in_corpus),
                answers,
                share(row.answer_shown),
                titles if row.with_titles else "-",
            )
        )
    ranks = "/".join(map(str, RANKS))
    header = ("benchmark", "questions", "yes/no", "in corpus", f"answer @{ranks}", "shown", f"titles @{ranks}")
    print_table(console, "audit", header, rows)
    cut = "whole" if done.passage_chars is None else f"cut to {done.passage_chars} characters each"
    console.print(
        f"shown: in the {done.k} passages that the policy sees, {cut}; shares leave yes/no questions out, titles are all gold "
        "titles of a question that has some",
        markup=False,
        soft_wrap=True,
    )
    if keep is not None:
        console.print(f"{len(done.shown):,} questions in {keep}", markup=False, soft_wrap=True)


def _chosen(names: Sequence[str]) -> list[str]:
    from workflow_r1.data import BENCHMARKS

    if not names:
        raise UserError(f"expected the name of a benchmark or `all`: {', '.join(BENCHMARKS)}")
    for name in names:
        if name != "all" and name not in BENCHMARKS:
            hint = did_you_mean(name, BENCHMARKS)
            raise UserError(f"expected a benchmark among {', '.join(BENCHMARKS)}, received {name!r}{hint}")
    return list(BENCHMARKS) if "all" in names else list(dict.fromkeys(names))


def _columns(given: Sequence[str] | None) -> "Mapping[QuestionField, str]":
    from typing import cast, get_args

    from workflow_r1.data import QuestionField

    fields = get_args(QuestionField)
    columns: dict[str, str] = {}
    for each in given or []:
        field, _, column = each.partition("=")
        if field not in fields or not column:
            raise UserError(
                f"--column: expected FIELD=COLUMN with a field among {', '.join(fields)}, received {each!r}"
            )
        columns[field] = column
    return cast("Mapping[QuestionField, str]", columns)


def _format(given: str) -> "FileFormat":
    from typing import cast, get_args

    from workflow_r1.data import FileFormat

    formats = get_args(FileFormat)
    if given not in formats:
        raise UserError(f"--format: expected one of {', '.join(formats)}, received {given!r}")
    return cast("FileFormat", given)


def _some(ids: Iterable[str]) -> str:
    named = list(ids)
    return ", ".join(named[:SHOWN_IDS]) + (", ..." if len(named) > SHOWN_IDS else "")


def _num_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
