"""``workflow-r1 world``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, Source, Trust
from workflow_r1.errors import UserError
from workflow_r1.running.configuration import open_config

if TYPE_CHECKING:
    from workflow_r1.embedded import EmbeddedConfig


def world(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Directory for the files; must not exist yet.")
    ] = Path("world"),
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Seed of the world; another seed makes another world. Default: the configuration's.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[int, typer.Option("--train", min=1, metavar="N", help="Training questions.")] = 4096,
    evaluation: Annotated[int, typer.Option("--evaluation", min=1, metavar="N", help="Held-out questions.")] = 400,
    build_policy: Annotated[
        bool,
        typer.Option(
            "--build-policy", help="Make the small warm-start policy instead (over half an hour on one core)."
        ),
    ] = False,
) -> None:
    """Write the embedded world (a simulation) to files: passages and questions. Or make its policy anew."""
    from workflow_r1.running.terminal import Terminal

    if output.exists():
        raise UserError(f"expected a new directory, but {output} exists; choose another --output")
    if build_policy:
        _build_policy(output, seed or 0)
        return
    dials = open_config(config, override, trust=trust).embedded
    if seed is not None:
        dials = dials.model_copy(update={"seed": seed})
    _write_world(output, dials, train, evaluation)
    console = Terminal()
    console.print(f"passages.jsonl, train.jsonl, evaluation.jsonl in {output}", soft_wrap=True, markup=False)


def _write_world(output: Path, dials: "EmbeddedConfig", num_train: int, num_evaluation: int) -> None:
    import json
    import shutil
    import tempfile

    from workflow_r1.data import save_questions
    from workflow_r1.embedded import EmbeddedWorld

    made = EmbeddedWorld(dials)
    try:
        questions = {
            "train": made.questions("train", num_train),
            "evaluation": made.questions("evaluation", num_evaluation),
        }
    except ValueError as error:
        raise UserError(f"{error}; ask for fewer with --train or --evaluation") from None
    passages = ({"id": passage.id, "title": passage.title, "text": passage.text} for passage in made.passages)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Under its name it appears whole or not at all.
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        text = "".join(json.dumps(passage, ensure_ascii=False) + "\n" for passage in passages)
        (temporary / "passages.jsonl").write_text(text, encoding="utf-8")
        for split, some in questions.items():
            save_questions(temporary / f"{split}.jsonl", some)
        temporary.chmod(0o755)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _build_policy(output: Path, seed: int) -> None:
    from workflow_r1.running.display import watch
    from workflow_r1.running.policies import require_engine
    from workflow_r1.running.terminal import Terminal

    require_engine("making the policy")
    from workflow_r1.engines.native.embedded_policy import BuildSettings, build_policy

    console = Terminal()
    with watch(console, "embedded policy", str(output)) as display:
        skills = build_policy(
            output, settings=BuildSettings(seed=seed), on_event=display.receive, on_progress=display.note
        )
    told = ", ".join(f"{skill} {share:.3f}" for skill, share in skills.items())
    console.print(f"the policy is in {output}; skills: {told}", soft_wrap=True, markup=False)
