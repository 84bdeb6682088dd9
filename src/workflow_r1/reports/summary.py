"""A run in one page of Markdown: its settings, its figures per class, and examples of its trajectories."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from workflow_r1.config import RunConfig
from workflow_r1.config.run import QUESTIONS
from workflow_r1.evaluation.figures import MEASURES, Figures, Proportion
from workflow_r1.printable import printable
from workflow_r1.prompts import parse_turn
from workflow_r1.recording.metrics import headline_of, tell_left_out
from workflow_r1.reports.run_record import Row, RunRecord
from workflow_r1.reports.services import SERVICES_NOTE, services_table
from workflow_r1.rewards.config import RewardConfig
from workflow_r1.services.secrets import mask_addresses
from workflow_r1.trajectory import AnswerReward, Reward, ScoredTrajectory, Trajectory

NUM_EXAMPLES = 3
"""Trajectories that a summary shows."""

MAX_EXAMPLE_CHARS = 600
"""Longest thought, input or observation in an example."""

CLASS_PREFIX = "evaluation/class/"

_IF_WRONG = "_if_left_out_wrong"


SIMULATED_QUESTIONS = (
    "Questions, passages or the LLM behind the operators are the embedded world's: **a simulation**. The figures say "
    "how the system learns, and nothing about real questions."
)
SIMULATED_TASK = (
    "The task, or the LLM or search that it uses, is **a simulation**. The figures say how the system learns, and nothing about "
    "the world outside."
)


def write_summary(run: RunRecord, *, pictures: Sequence[str] = ()) -> str:
    """Put a run into Markdown.

    Args:
        run: read by :func:`~workflow_r1.reports.run_record.read_run`.
        pictures: file names in the run directory to show.
    """
    parts = [f"# {escape_markdown(run.title)}", *_describe(run)]
    if run.is_simulation:
        parts.append(SIMULATED_QUESTIONS if run.config.task == QUESTIONS else SIMULATED_TASK)
    parts += [f"![Curve]({picture})" for picture in pictures]
    if run.evaluations:
        measure = MEASURES[headline_of(run.evaluations[-1], "evaluation")]
        parts += [f"## Held-out {measure}", _table_of_text(*evaluation_table(run))]
    parts += ["## Training", _table_of_text(*training_table(run))]
    parts += ["## Services", _table_of_text(*services_table(run)), SERVICES_NOTE] if run.services else []
    examples = _choose_examples(run)
    if examples:
        parts += ["## Example trajectories", *(show_trajectory(trajectory) for trajectory in examples)]
    return "\n\n".join(parts) + "\n"


def _describe(run: RunRecord) -> list[str]:
    config, environment = run.config, run.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items() if version)
    steps, minutes = run.metrics[-1]["step"], run.minutes_at(run.metrics[-1]["step"])
    rows = [
        ("Policy", f"`{config.policy.model}`"),
        ("Objective", f"`{config.objective.preset}`, {config.training.group_size} trajectories per question, "
                      f"{config.training.questions_per_step} questions per step"),
        ("Operators", ", ".join(f"`{name}`" for name in config.environment.operators)),
        ("LLM behind them", "the embedded world's simulated expert" if config.llm.kind == "embedded"
                            else f"`{config.llm.model}` at {mask_addresses(config.llm.base_url or 'the default endpoint')}"),
        _describe_task(config),
        ("Search", f"`{config.search.kind}`, {config.search.k} passages"
                   + (f", corpus `{config.search.corpus}`" if config.search.corpus else "")),
        ("Exact match", "SQuAD normalisation, any golden answer; intervals are 95% (Wilson)") if config.task == QUESTIONS
        else ("Success", "as the task says; intervals are 95% (Wilson)"),
        *_reward_row(config.reward),
        ("Seed", str(config.seed)),
        ("Done", f"{steps} of {config.training.steps} steps, {minutes:.1f} minutes of training"),
        ("Revision", str(environment.get("git_revision") or "unknown")),
        ("Versions", versions or "unknown"),
    ]  # fmt: skip
    if config.task != QUESTIONS and not config.environment.operators:
        rows = [row for row in rows if row[0] not in ("Operators", "LLM behind them", "Search")]
    return [markdown_table(("", ""), rows)]


def _describe_task(config: RunConfig) -> tuple[str, str]:
    if config.task != QUESTIONS:
        return "Task", f"`{escape_markdown(config.task)}`"
    if config.data.source == "embedded":
        return "Questions", "embedded world"
    return "Questions", f"`{config.data.train}`, held out `{config.data.evaluation}`"


def _reward_row(reward: RewardConfig) -> list[tuple[str, str]]:
    """Describe the reward where it is not the task's own."""
    named = ((re.split(r"[/\\]", name)[-1], weight) for name, weight in reward.weights.items())
    terms = [f"{weight:g} {escape_markdown(name)}" for name, weight in named] or ["the task's own"]
    cost = [f"less the cost in {reward.cost.kind} of right trajectories, dial {reward.cost.dial:g}"]
    if reward == RewardConfig():
        return []
    return [("Reward", ", ".join([" + ".join(terms), *(cost if reward.cost.dial else [])]))]


def evaluation_table(run: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Header and rows: held-out exact match (success, or reward, of another task) at the first and the last evaluation, over all and per class."""
    first, last = run.evaluations[0], run.evaluations[-1]
    measure = headline_of(last, "evaluation")
    prefixes = {"all": "evaluation"} | {name: f"{CLASS_PREFIX}{name}" for name in _classes(last)}
    rows = []
    for name, prefix in prefixes.items():
        change = _difference(first.get(f"{prefix}/{measure}"), last.get(f"{prefix}/{measure}"))
        number = last.get(f"{prefix}/num_scored", last.get("evaluation/num_questions", ""))
        shown = [_interval(row, prefix) + tell_left_out(row, prefix) for row in (first, last)]
        rows.append([name, str(number), *shown, change])
    return ["class", "questions", f"step {first['step']}", f"step {last['step']}", "change"], rows


def training_table(run: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Header and rows: quantities of the first and the last steps, each a mean over up to five steps."""
    width = min(5, max(1, len(run.metrics) // 2))
    quantities = [
        ("reward", "rollout/reward"),
        ("exact match, sampled", "rollout/exact_match"),
        ("success, sampled", "rollout/success"),
        *((f"part {key.rsplit('/', 1)[-1]}", key) for key in run.keys("rollout/part/")),
        ("turns", "rollout/turns"),
        ("policy tokens", "rollout/policy_tokens"),
        ("LLM calls", "rollout/llm_calls"),
        ("malformed", "rollout/malformed_rate"),
        *((f"calls of {key.rsplit('/', 1)[-1]}", key) for key in run.keys("rollout/calls/")),
        ("left out: infrastructure failures", "rollout/num_failed"),
        ("exact match, sampled, if left out were wrong", "rollout/exact_match_if_left_out_wrong"),
        ("success, sampled, if left out had failed", "rollout/success_if_left_out_wrong"),
        ("seconds per step", "time/step_seconds"),
    ]
    parts = run.metrics[:width], run.metrics[-width:]
    some_left_out = any(row.get("rollout/num_failed") for part in parts for row in part)
    rows = []
    for name, key in quantities:
        if key.endswith(_IF_WRONG) and not some_left_out:
            continue
        before, after = (_mean(_completed(part, key), key) for part in parts)
        if before is not None and after is not None and (before or after):
            rows.append([name, f"{before:.3g}", f"{after:.3g}"])
    label = "step" if width == 1 else f"{width} steps"
    return ["mean per trajectory or step", f"first {label}", f"last {label}"], rows


def _completed(rows: Sequence[Row], key: str) -> list[Row]:
    """Return a figure of each row. A step that left nothing out has no figure "if wrong", and gives its plain one instead."""
    plain = key.removesuffix(_IF_WRONG)
    return [{key: row.get(key, row.get(plain))} for row in rows]


def figures_table(results: Iterable[tuple[str, Figures]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: one row per class or method of an evaluation; narrow enough for a terminal.

    Where anything was left out, each row says how much, and the figure if all of it were wrong.
    """
    results = list(results)
    some_left_out = any(figures.num_failed for _, figures in results)
    measure = next((MEASURES[figures.measure] for _, figures in results), "exact match")
    interval = "" if measure == "reward" else " [95%]"
    with_f1 = any(figures.f1 is not None for _, figures in results)
    header = ["", "questions", f"{measure}{interval}", *(["F1"] if with_f1 else []), "turns", "LLM calls", "LLM tokens"]
    if some_left_out:
        header[3:3] = ["left out", "if wrong"]
    rows = [
        [
            name,
            str(figures.well_formed.total),
            f"{figures.reward:.3f}" if figures.headline is None else str(figures.headline),
            *([str(figures.num_failed), _show(figures.headline_if_left_out_wrong)] if some_left_out else []),
            *([_show(figures.f1)] if with_f1 else []),
            f"{figures.turns:.1f}",
            f"{figures.llm_calls:.1f}",
            _show_llm_tokens(figures),
        ]
        for name, figures in results
    ]
    return header, rows


def _show_llm_tokens(figures: Figures) -> str:
    sent, received = figures.llm_prompt_tokens, figures.llm_completion_tokens
    return "unknown" if sent is None or received is None else f"{sent + received:.0f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends inside cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Text from outside as text in one line of Markdown: no HTML, link, picture, formula or emphasis in it acts.

    A renderer fetches a picture as soon as a page is looked at, and what HTML may do is up to the renderer.
    """
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(printable(text).split()))


_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&]")
"""ASCII punctuation after a backslash is that character and nothing else (CommonMark 0.31, section 2.4)."""


def _table_of_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column holds names from outside, such as classes of questions."""
    return markdown_table(header, ([escape_markdown(name), *others] for name, *others in rows))


def _cell(text: str) -> str:
    return " ".join(_BARE_BAR.sub(r"\\|", text).split())


_BARE_BAR = re.compile(r"(?<!\\)\|")


def show_trajectory(trajectory: Trajectory) -> str:
    """One trajectory in Markdown, turn by turn; texts of the policy and of the world stand in fences."""
    lines = [f"**{escape_markdown(trajectory.question.text)}**"]
    for turn in trajectory.turns:
        parsed = parse_turn(turn.text)
        block = [f"think   {_shorten(parsed.think or turn.text)}"]
        for call in turn.calls:
            block += [f"call    {call.operator}: {_shorten(call.input)}", f"result  {_shorten(call.observation)}"]
        if parsed.answer is not None:
            block.append(f"answer  {_shorten(parsed.answer)}")
        elif not turn.calls and turn.observation:
            block.append(f"told    {_shorten(turn.observation)}")
        text = printable("\n".join(block))
        # A fence longer than any run of backticks inside cannot be closed from inside.
        fence = "`" * max(3, 1 + max((len(run) for run in _backtick_runs(text)), default=0))
        lines.append(f"{turn.index}.\n{fence}text\n{text}\n{fence}")
    lines.append(_outcome(trajectory))
    return "\n\n".join(lines)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _outcome(trajectory: Trajectory) -> str:
    gold = ", ".join(trajectory.question.golden_answers) or "unknown"
    answer = f"Answer: {trajectory.answer!r}" if trajectory.answer is not None else "No answer"
    score = (
        f"reward {trajectory.reward.total:g}{_show_parts(trajectory.reward)}"
        if isinstance(trajectory, ScoredTrajectory)
        else "not scored"
    )
    return f"{escape_markdown(answer)}; gold: {escape_markdown(gold)}; {trajectory.stop_reason}; {score}."


def _show_parts(reward: Reward) -> str:
    """Show the terms of the total, for the paper's reward; all parts, for another."""
    names = ["answer", "format"] if isinstance(reward, AnswerReward) else list(reward.parts)
    return f" ({', '.join(f'{escape_markdown(name)} {reward.parts[name]:g}' for name in names)})" if names else ""


def _choose_examples(run: RunRecord) -> list[Trajectory]:
    """Choose from the last trajectories: the longest right one, then other endings."""
    recent = [trajectory for trajectory in run.last_trajectories(256) if trajectory.turns]
    recent.sort(key=lambda trajectory: len(trajectory.turns), reverse=True)
    chosen: dict[Any, Trajectory] = {}
    for trajectory in recent:
        right = isinstance(trajectory, ScoredTrajectory) and trajectory.reward.success is True
        chosen.setdefault((not right, str(trajectory.stop_reason)), trajectory)
    return [chosen[key] for key in sorted(chosen)][:NUM_EXAMPLES]


def _classes(row: Row) -> list[str]:
    suffix = f"/{headline_of(row, 'evaluation')}"
    keys = [key for key in row if key.startswith(CLASS_PREFIX) and key.endswith(suffix)]
    return sorted(key.removeprefix(CLASS_PREFIX).removesuffix(suffix) for key in keys)


def _interval(row: Row, prefix: str) -> str:
    measure = headline_of(row, "evaluation")
    rate = row.get(f"{prefix}/{measure}")
    if rate is None:
        return "-"
    if measure == "reward":
        return f"{rate:.3f}"
    low, high = row[f"{prefix}/{measure}_low"], row[f"{prefix}/{measure}_high"]
    return str(Proportion(successes=0, total=0, rate=rate, low=low, high=high))


def _difference(before: float | None, after: float | None) -> str:
    return "-" if before is None or after is None else f"{after - before:+.3f}"


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return sum(values) / len(values) if values else None


def _shorten(text: str) -> str:
    text = text.strip()
    if len(text) <= MAX_EXAMPLE_CHARS:
        return text
    half = MAX_EXAMPLE_CHARS // 2
    return f"{text[:half]} [...] {text[-half:]}"


def _backtick_runs(text: str) -> list[str]:
    runs, current = [], ""
    for character in f"{text} ":
        if character == "`":
            current += character
        elif current:
            runs.append(current)
            current = ""
    return runs
