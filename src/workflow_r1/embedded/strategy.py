"""The choices of the embedded world's scripts, and the fixed scripts whose scores show what can be reached."""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Strategy:
    """Probabilities of the choices that a demonstrator makes; each is drawn anew whenever it comes up."""

    whole: float = 0.47
    """Ask the whole question at once with ``AnswerGenerate``."""
    whole_ensemble: float = 0.08
    """Ask the whole question three times and combine."""
    optimise: float = 0.03
    """Have the question made clear first, then go hop by hop."""
    search: float = 0.6
    """Hop by hop: ``Search`` for the fact; otherwise ask the expert for it."""
    give_up: float = 0.3
    """Answer ``unknown`` when no passage states the fact."""
    ensemble: float = 0.2
    """Ask three times and combine the answers when asking for one fact; otherwise ask once."""
    review: float = 0.12
    """Have a single answer of the expert reviewed, and revised where it is called wrong."""
    review_found: float = 0.1
    """The same for a value that a passage states: of no use, but a policy that tries it must have seen how."""
    outsource_comparison: float = 0.05
    """Let ``Custom`` compare two years."""
    check: float = 0.0
    """Search the news for a value that a passage states: it may have changed since."""
    go_back: float = 0.0
    """At a dead end, search for the other bearer of the last name on the way that two bear."""


CHOICES = tuple(each.name for each in fields(Strategy))
"""Names of the choices."""

WARM_START = Strategy()
"""The mixture that the shipped policy imitates."""

ONE_WAY = Strategy(
    whole=0,
    whole_ensemble=0,
    optimise=0,
    search=1,
    give_up=0,
    ensemble=0,
    review=0,
    review_found=0,
    outsource_comparison=0,
)
"""Hop by hop, searching for each fact and asking once for what no passage states."""

STRATEGIES: dict[str, Strategy] = {
    "ask the whole question": replace(ONE_WAY, whole=1),
    "ask the whole question three times": replace(ONE_WAY, whole_ensemble=1),
    "ask the whole question and review": replace(ONE_WAY, whole=1, review=1),
    "ask hop by hop": replace(ONE_WAY, search=0),
    "search, else give up": replace(ONE_WAY, give_up=1),
    "search, else ask": ONE_WAY,
    "search, else ask three times": replace(ONE_WAY, ensemble=1),
    "search, else ask and review": replace(ONE_WAY, review=1),
    "warm-start mixture": WARM_START,
}
"""Oracle scripts by name; each shows the score that its strategy reaches when its reading is exact."""
