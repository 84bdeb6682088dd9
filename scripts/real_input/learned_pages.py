"""The page and the picture of what ``learned.py`` has gathered."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from workflow_r1.recording.alarms import ALARM_TITLES
from workflow_r1.reports.comparison.pictures import COLOURS
from workflow_r1.reports.curve import smooth
from workflow_r1.reports.drawing import INK, MUTED, dress, opened_figure, save_figure
from workflow_r1.reports.summary import markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Gathered = Mapping[str, Any]

EDGE_STEPS = 10
"""Steps at either end of a run whose means are shown."""

HELD_OUT = "held out: HotpotQA and NQ"
PLAN_NAMES = {"greedy": "greedy", "sampled": "sampled", "pass": "eight sampled"}
MEASURE_NAMES = {"exact_match": "exact match", "f1": "F1", "pass": "some answer right"}


def write_page(gathered: Gathered) -> str:
    """Write all tables in Markdown."""
    conditions = gathered["conditions"]
    unfinished = [name for name, plans in gathered["runs"].items() if not plans]
    lines = [
        f"{conditions['demonstrations']:,} demonstrations, {conditions['training_questions']:,} training questions, "
        f"{'; '.join(conditions['steps']) or 'no reinforcement learning yet'}; commit {', '.join(conditions['revisions']) or 'unknown'}.",
        *(
            [f"Without an evaluation so far, and so in no table of answers: {', '.join(unfinished)}."]
            if unfinished
            else []
        ),
    ]
    parts = {
        "Before and after": _gains(gathered),
        "Against more supervised training": _rivalry(gathered),
        "What they do": _behaviour(gathered),
        "By seed": _by_seed(gathered),
        "Training": _training(gathered),
        "Alarms": _alarms(gathered),
        "Workflows that no demonstration holds": _workflows(gathered),
        "Time and memory": _seconds(gathered),
        "A question before and after": _example(gathered),
    }
    text = ["\n".join(lines), *(f"## {title}\n\n{part}" for title, part in parts.items() if part)]
    return "\n\n".join(text) + "\n"


def _gains(gathered: Gathered) -> str:
    head = [
        "questions",
        "answers",
        "figure",
        "arm",
        "seeds",
        "before",
        "after",
        "gain, over seeds",
        "seeds and questions",
        "p",
    ]
    rows = []
    for row in gathered["comparisons"]:
        for measure, test in row["tests"].items():
            if (measure == "pass") != (row["plan"] == "pass"):
                continue
            means = row["measures"][measure]
            rows.append(
                [
                    f"{row['questions']} ({row['num_questions']})", PLAN_NAMES[row["plan"]], MEASURE_NAMES[measure], row["arm"],
                    str(len(row["seeds"])), f"{means['before']:.3f}", f"{means['after']:.3f}", _show(test["gain"]),
                    _show(test["gain_over_questions"]), f"{test['p_value']:.4f} ({test['up']} up, {test['down']} down)",
                ]
            )  # fmt: skip
    note = (
        "Intervals are 95%, Student's. The first covers seeds on these questions, the second other questions as well; one seed "
        "has no interval over seeds. p: sign-flip test on the questions' means over seeds."
    )
    return f"{markdown_table(head, rows)}\n\n{note}" if rows else ""


def _rivalry(gathered: Gathered) -> str:
    head = [
        "questions",
        "answers",
        "figure",
        "arm less sft",
        "seeds",
        "difference, over seeds",
        "seeds and questions",
        "p",
    ]
    rows = [
        [
            row["questions"], PLAN_NAMES[row["plan"]], MEASURE_NAMES[measure], row["arm"], str(len(row["seeds"])),
            _show(test["difference"]), _show(test["difference_over_questions"]),
            f"{test['p_value']:.4f} ({test['up']} up, {test['down']} down)",
        ]
        for row in gathered["rivalry"]
        for measure, test in row["measures"].items()
        if (measure == "pass") == (row["plan"] == "pass")
    ]  # fmt: skip
    note = "Differences of the gains, taken seed by seed; both began at the same policy."
    return f"{markdown_table(head, rows)}\n\n{note}" if rows else ""


def _behaviour(gathered: Gathered) -> str:
    head = [
        "questions", "answers", "policy", "answer shown", "searches", "more than one", "right with one", "right with more",
        "thought", "malformed",
    ]  # fmt: skip
    rows: list[list[str]] = []
    seen: set[tuple[str, str]] = set()
    for row in gathered["comparisons"]:
        if row["plan"] == "pass":
            continue
        sides = [(row["arm"], "after")]
        if (row["plan"], row["questions"]) not in seen:
            seen.add((row["plan"], row["questions"]))
            sides.insert(0, ("before", "before"))
        for name, side in sides:
            figures = {measure: means[side] for measure, means in row["measures"].items()}
            rows.append(
                [
                    row["questions"], PLAN_NAMES[row["plan"]], name, f"{figures['shown']:.3f}", f"{figures['searches']:.2f}",
                    f"{figures['several']:.3f}", _share(figures["one_right"], figures["one"]),
                    _share(figures["several_right"], figures["several"]), f"{figures['think_chars']:.0f}",
                    f"{figures['malformed']:.3f}",
                ]
            )  # fmt: skip
    note = "*Right with one*: exact match of the answers that had one search. A thought's length is in characters."
    return f"{markdown_table(head, rows)}\n\n{note}" if rows else ""


def _by_seed(gathered: Gathered) -> str:
    head = ["answers", "figure", "arm", "before", "after, by seed"]
    rows = [
        [
            PLAN_NAMES[row["plan"]], MEASURE_NAMES[measure], row["arm"], f"{row['measures'][measure]['before']:.3f}",
            ", ".join(f"{seed}: {value:.3f}" for seed, value in zip(row["seeds"], row["measures"][measure]["by_seed"], strict=True)),
        ]
        for row in gathered["comparisons"]
        if row["questions"] == HELD_OUT
        for measure in MEASURE_NAMES
        if (measure == "pass") == (row["plan"] == "pass")
    ]  # fmt: skip
    return f"Questions {HELD_OUT}.\n\n{markdown_table(head, rows)}" if rows else ""


def _training(gathered: Gathered) -> str:
    head = ["run", "steps", "reward", "exact match", "searches", "groups without signal", "thought", "one workflow"]
    names = ("reward", "exact_match", "searches", "signal", "think_chars", "workflow_share")
    rows, rounds = [], []
    for name, training in gathered["training"].items():
        steps = dict(training.get("steps") or {})
        if steps:
            steps["signal"] = without_signal(steps)
            rows.append([name, str(len(steps["reward"])), *(_ends(steps[key]) for key in names)])
        rounds += [
            [
                name, str(number), f"{each['trajectories']:,}", _number(each["exact_match"]), _number(each["searches"]),
                f"{each['right']:,}", f"{each['trained_on']:,}",
            ]
            for number, each in enumerate(training.get("rounds", ()))
        ]  # fmt: skip
    parts = []
    if rows:
        parts.append(
            f"{markdown_table(head, rows)}\n\nMeans of the first and of the last {EDGE_STEPS} steps, sampled. *Groups without "
            "signal*: the share whose rewards are all equal. *One workflow*: the share of the most frequent number of searches."
        )
    if rounds:
        head = ["run", "round", "sampled", "exact match", "searches", "right, kept", "trained on"]
        parts.append(markdown_table(head, rounds))
    return "\n\n".join(parts)


def without_signal(steps: Mapping[str, Sequence[float]]) -> list[float]:
    """Share of the groups of each step whose rewards are all equal."""
    return [
        none / groups for none, groups in zip(steps["groups_without_signal"], steps["groups"], strict=True) if groups
    ]


def _alarms(gathered: Gathered) -> str:
    rows = [
        [name, str(alarm["step"]), str(alarm["until"] or "the end"), ALARM_TITLES[alarm["kind"]], alarm["message"]]
        for name, training in gathered["training"].items()
        for alarm in training.get("alarms", ())
    ]
    learning = [name for name, training in gathered["training"].items() if training.get("steps")]
    if not learning:
        return ""
    return (
        markdown_table(["run", "step", "until", "alarm", "figures"], rows)
        if rows
        else f"None in {', '.join(learning)}."
    )


def _workflows(gathered: Gathered) -> str:
    workflows = gathered["workflows"]
    head = ["policy", "answers", "workflows", "not demonstrated", "share of answers", "exact match of these"]
    rows = [
        [
            name, f"{each['trajectories']:,}", str(each["different"]), str(each["new"]), f"{each['new_share']:.3f}",
            f"{each['new_right']:.3f}",
        ]
        for name, each in workflows["by_arm"].items()
    ]  # fmt: skip
    if not rows:
        return ""
    most = [
        [name, f"`{each['workflow']}`", f"{each['share']:.3f}", f"{each['right']:.3f}"]
        for name, arm in workflows["by_arm"].items()
        for each in arm["most_frequent_new"][:4]
    ]
    parts = [
        "A workflow here is which texts fed each search and the answer, of answers without a malformed turn. The demonstrations "
        f"hold {workflows['demonstrated']}.",
        markdown_table(head, rows),
    ]
    if most:
        parts.append(markdown_table(["policy", "not demonstrated", "share", "exact match"], most))
    return "\n\n".join(parts)


def _seconds(gathered: Gathered) -> str:
    rows = [
        [name, stage, f"{spent['cpu']:,.0f}", f"{spent['wall']:,.0f}", _number(spent.get("peak_gb"), ".1f")]
        for name, stages in gathered["seconds"].items()
        for stage, spent in stages.items()
    ]
    note = "Memory is the most that one process had held when the part ended, in GiB; a dash where it was not recorded."
    return f"{markdown_table(['part of', 'part', 'CPU s', 'wall s', 'memory'], rows)}\n\n{note}"


def _example(gathered: Gathered) -> str:
    example = gathered["example"]
    if example is None:
        return ""
    return (
        f"Greedy; right after training in {example['seeds']} seeds of gsspo.\n\nBefore:\n\n{example['before']}\n\nAfter:\n\n"
        f"{example['after']}"
    )


def _show(interval: Mapping[str, float | None]) -> str:
    ends = "" if interval["low"] is None else f" [{interval['low']:+.3f}, {interval['high']:+.3f}]"
    return f"{interval['estimate']:+.3f}{ends}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _ends(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known[:EDGE_STEPS]):.3f} -> {mean(known[-EDGE_STEPS:]):.3f}"


def draw(gathered: Gathered, stem: Path) -> list[Path]:
    """Draw reward and exact match over the trajectories that were sampled, seed by seed, and the held-out figures.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    arms = list(dict.fromkeys(name.split("-seed")[0] for name in gathered["runs"]))
    colours = dict(zip(arms, COLOURS, strict=False))
    with opened_figure(13.0, 4.2) as figure:
        reward, right, held_out = figure.subplots(1, 3)
        dress(reward, "Reward, sampled (moving average)", "trajectories")
        dress(right, "Exact match, sampled (moving average)", "trajectories")
        dress(held_out, "Exact match, held out: HotpotQA and NQ", "")
        for name, training in gathered["training"].items():
            colour = colours[name.split("-seed")[0]]
            if steps := training.get("steps"):
                places = list(accumulate(steps["trajectories"]))
                for axes, key in ((reward, "reward"), (right, "exact_match")):
                    axes.plot(places, smooth(steps[key]), color=colour, linewidth=1.4, alpha=0.8)
            _draw_rounds(right, training.get("rounds", ()), colour)
        _draw_held_out(held_out, gathered, colours)
        figure.suptitle(
            "A real model learns real questions", fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left"
        )
        note = "One line is one seed. Bars are means over seeds, dots single seeds; the line across is the policy after the warm start."
        figure.supxlabel(note, fontsize=8, color=MUTED, x=0.01, ha="left")
        return save_figure(figure, stem)


def _draw_rounds(axes: "Axes", rounds: Sequence[Mapping[str, Any]], colour: str) -> None:
    places, values, total = [], [], 0
    for each in rounds:
        total += each["trajectories"]
        if each["exact_match"] is not None:
            places.append(total)
            values.append(each["exact_match"])
    axes.plot(places, values, color=colour, linewidth=1.4, alpha=0.8, marker="o", markersize=3)


def _draw_held_out(axes: "Axes", gathered: Gathered, colours: Mapping[str, str]) -> None:
    rows = [row for row in gathered["comparisons"] if row["questions"] == HELD_OUT and row["plan"] != "pass"]
    labels = []
    for place, row in enumerate(rows):
        means, colour = row["measures"]["exact_match"], colours[row["arm"]]
        axes.bar(place, means["after"], color=colour, alpha=0.35, width=0.7)
        axes.plot(
            [place] * len(means["by_seed"]), means["by_seed"], color=colour, linestyle="", marker="o", markersize=4
        )
        axes.plot([place - 0.45, place + 0.45], [means["before"]] * 2, color=INK, linewidth=1.4)
        labels.append(f"{row['arm']}\n{PLAN_NAMES[row['plan']]}")
    axes.set_xticks(range(len(rows)), labels, fontsize=8)
    axes.set_ylim(bottom=0)
    for arm, colour in colours.items():
        axes.plot([], [], color=colour, linewidth=2.0, label=arm)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
