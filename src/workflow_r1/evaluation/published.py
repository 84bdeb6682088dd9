"""The figures that the paper prints (arXiv:2602.01202), to stand beside ours.

``baseline_comparison.png`` shows bars without numbers: they were measured in pixels of the full picture (1 px =
0.00035), and every bar lies within 0.0003 of a number of three decimals. The figures of its Workflow-R1 that
``comparison.png`` prints agree exactly. All are shares of questions answered right, by exact match as far as the paper
shows; the paper gives no numbers of questions, no seeds, no intervals and no costs.
"""

from typing import Literal

from workflow_r1.trajectory.records import Record

Figure = Literal["baseline_comparison.png", "comparison.png"]

READ_ERROR: dict[Figure, float] = {"baseline_comparison.png": 0.0005, "comparison.png": 0.0}
"""Largest error of a figure read off a picture."""

QWEN, DEEPSEEK = "Qwen2.5-32B-Instruct", "DeepSeek V3.2"
OPERATOR_LLMS = (QWEN, DEEPSEEK)
"""The LLMs behind the operators and the baselines."""

WITHOUT_SEARCH, WITH_SEARCH = "Workflow-R1", "Workflow-R1-Search"
"""The paper's systems."""

METHODS = {
    "direct": "Direct",
    "cot": "CoT",
    "self-consistency": "SC",
    "medprompt": "MedPrompt",
    "maas": "MaAS",
    "aflow": "AFlow",
}
"""Our name of a method -> the paper's. The policy is one of the two systems, by whether it may search."""


class PublishedFigure(Record):
    """One figure of the paper."""

    method: str
    """Method by the paper's name."""
    benchmark: str
    """Benchmark by its name in :data:`~workflow_r1.data.benchmarks.BENCHMARKS`."""
    operator_llm: str | None
    """The LLM behind operators and baselines; None where the picture does not say."""
    value: float
    """Share of questions answered right."""
    picture: Figure
    """Picture of the paper that shows it."""
    error: float
    """Largest error of reading it off the picture; 0 where the number is printed."""


_ALL = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
_PRINTED = ("nq", "triviaqa", "hotpotqa", "musique")
_BARS: dict[str, dict[str, tuple[float, ...]]] = {
    QWEN: {
        "Direct": (0.126, 0.471, 0.133, 0.208, 0.289, 0.063, 0.408),
        "CoT": (0.222, 0.579, 0.205, 0.234, 0.286, 0.079, 0.480),
        "SC": (0.241, 0.595, 0.214, 0.258, 0.290, 0.084, 0.448),
        "MedPrompt": (0.242, 0.603, 0.211, 0.264, 0.300, 0.086, 0.448),
        "MaAS": (0.233, 0.571, 0.193, 0.239, 0.231, 0.062, 0.384),
        "AFlow": (0.250, 0.603, 0.232, 0.273, 0.312, 0.073, 0.504),
        WITHOUT_SEARCH: (0.301, 0.612, 0.246, 0.274, 0.314, 0.095, 0.472),
    },
    DEEPSEEK: {
        "Direct": (0.318, 0.713, 0.359, 0.299, 0.318, 0.091, 0.336),
        "CoT": (0.332, 0.714, 0.377, 0.355, 0.455, 0.156, 0.608),
        "SC": (0.295, 0.693, 0.380, 0.336, 0.421, 0.170, 0.616),
        "MedPrompt": (0.288, 0.688, 0.370, 0.338, 0.413, 0.179, 0.624),
        "MaAS": (0.335, 0.685, 0.358, 0.323, 0.339, 0.123, 0.440),
        "AFlow": (0.382, 0.727, 0.426, 0.402, 0.470, 0.185, 0.584),
        WITHOUT_SEARCH: (0.440, 0.765, 0.487, 0.428, 0.548, 0.202, 0.632),
    },
}
_SEARCH = (0.435, 0.733, 0.461, 0.215)
"""Workflow-R1-Search under GSsPO, of ``_PRINTED``."""

PUBLISHED: tuple[PublishedFigure, ...] = (
    *(
        PublishedFigure(
            method=method, benchmark=benchmark, operator_llm=llm, value=value, picture="baseline_comparison.png",
            error=READ_ERROR["baseline_comparison.png"],
        )
        for llm, bars in _BARS.items()
        for method, values in bars.items()
        for benchmark, value in zip(_ALL, values, strict=True)
    ),
    *(
        PublishedFigure(
            method=WITH_SEARCH, benchmark=benchmark, operator_llm=None, value=value, picture="comparison.png",
            error=READ_ERROR["comparison.png"],
        )
        for benchmark, value in zip(_PRINTED, _SEARCH, strict=True)
    ),
)  # fmt: skip

WHY_THEY_DIFFER = (
    "The operators' LLM decides most of it: between the paper's own two, Workflow-R1 differs by 0.11 to 0.24.",
    "The paper ran one seed and gives no interval, and of Bamboogle alone the number of questions can be told (125): a share "
    "of 125 questions is uncertain by up to 0.09 either way (95%).",
    "The settings of its baselines are unknown (prompts, temperatures, numbers of samples, the rounds of AFlow's search). "
    "MaAS has been published for mathematics and code alone: how it was made to answer questions is not known.",
    "Which questions were asked, and how many of each benchmark, is not stated; with Search, neither is the corpus.",
    "Its figures are shares of questions answered right, by exact match after SQuAD's normalisation as far as its reward tells. "
    "Ours is that too, with any golden answer.",
    "It gives no costs: its methods were not compared at equal numbers of LLM calls.",
    "All bars were measured in pixels (within 0.0005 of what was drawn); those of Workflow-R1-Search are printed.",
)
"""Warnings that a reader needs before comparing."""


def published_figures(method: str, benchmark: str, *, searches: bool) -> tuple[PublishedFigure, ...]:
    """Return the paper's figures for the systems that correspond to one of our methods.

    Args:
        method: our name; ``policy`` stands for the paper's systems.
        benchmark: name of the benchmark.
        searches: True where the method has ``Search`` in its pool: the paper shows no such system but its own.
    """
    if method == "policy":
        name = WITH_SEARCH if searches else WITHOUT_SEARCH
    elif method in METHODS and not searches:
        name = METHODS[method]
    else:
        return ()
    return tuple(each for each in PUBLISHED if each.method == name and each.benchmark == benchmark)
