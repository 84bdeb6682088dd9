"""A study as a file: arms by seeds by worlds, and what is compared, written down before the first run."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError, model_validator

from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean
from workflow_r1.trajectory.records import Record

AGAIN = "again"
"""Word that ends the name of the arm that is run a second time."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")


class StudyArm(Record):
    """One arm: whatever its overrides change."""

    overrides: tuple[str, ...] = ()
    """``section.key=value``, as after ``-o``."""
    seeds: int | None = Field(default=None, ge=1)
    """Only the first so many seeds; None takes all."""
    tuned_as: str | None = None
    """Arm whose tuned value this one takes, for a null arm at another's learning rate; that one is tuned itself. None tunes it."""


class StudyWorld(Record):
    """Settings under which every arm is run."""

    overrides: tuple[str, ...] = ()
    """``section.key=value``, before those of the arm."""


class Tuning(Record):
    """A setting that is chosen for each arm, on seeds of its own, with one budget for all arms."""

    key: str = "optimiser.learning_rate"
    """Setting that is tuned."""
    values: tuple[float, ...] = Field(min_length=2)
    """Values in rising order; a best one at either end is reported as such."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds that the study itself does not use."""
    overrides: tuple[str, ...] = ()
    """Overrides of these runs alone, such as fewer steps."""


class StopRule(Record):
    """The study ends before its last seed once every contrast is known so well; it looks at no contrast's sign or size."""

    half_width: float = Field(gt=0.0)
    """Largest half-width of the interval of every contrast."""
    min_seeds: int = Field(default=5, ge=2)
    """Seeds before which the study does not end."""


class StudyConfig(Record):
    """One study."""

    name: str
    """Name of the study."""
    question: str = ""
    """Question that it answers."""
    hypotheses: tuple[str, ...] = ()
    """Expectations, before the first run."""
    config: str = "embedded"
    """Configuration of every run: a preset, or a TOML file relative to the study's."""
    overrides: tuple[str, ...] = ()
    """Overrides of every run."""
    seeds: int | tuple[int, ...] = 5
    """Seeds of each arm: so many from 0 on, or a list."""
    seed_keys: tuple[str, ...] = ()
    """Keys besides ``seed`` that take the seed, such as ``embedded.seed``: the arms of one seed then share a world of its own."""
    arms: dict[str, StudyArm] = Field(min_length=1)
    """Arms by name."""
    worlds: dict[str, StudyWorld] = Field(default_factory=lambda: {"world": StudyWorld()}, min_length=1)
    """Worlds by name; the first one tunes."""
    contrasts: tuple[tuple[str, str], ...] = ()
    """Pairs of arms that are compared, first minus second, in every world: the family of the correction (Holm)."""
    again: str | None = None
    """Arm that is run a second time under other seeds: its contrast with itself is the noise floor."""
    tune: Tuning | None = None
    stop: StopRule | None = None
    last_evaluations: int = Field(default=3, ge=1)
    """Evaluations at the end whose mean is a run's result."""
    threshold: float | None = None
    """Result up to which time and trajectories are counted."""
    collapse: float = Field(default=0.5, gt=0.0, lt=1.0)
    """A run collapsed where its result is below this share of its best evaluation, if that is above 0."""

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds in the order of the runs."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def arms_and_again(self) -> dict[str, StudyArm]:
        """Arms by name, the one that is run again among them."""
        if self.again is None:
            return dict(self.arms)
        arm = self.arms[self.again]
        return {**self.arms, self.name_again: arm.model_copy(update={"tuned_as": arm.tuned_as or self.again})}

    @property
    def name_again(self) -> str:
        """Name of the arm that is run again."""
        return f"{self.again} {AGAIN}"

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Return the seeds of an arm."""
        return self.all_seeds[: self.arms_and_again[arm].seeds]

    @model_validator(mode="after")
    def _names_exist(self) -> "StudyConfig":
        mistakes = [
            f"{kind}.{name}: expected a name of letters, digits, blanks and .-_+"
            for kind, names in (("arms", self.arms), ("worlds", self.worlds))
            for name in names
            if not _NAME.fullmatch(name) or name.endswith(f" {AGAIN}")
        ]
        named = {"again": self.again} | {f"arms.{name}.tuned_as": arm.tuned_as for name, arm in self.arms.items()}
        named |= {f"contrasts ({one}, {two})": arm for one, two in self.contrasts for arm in (one, two)}
        mistakes += [
            f"{place}: expected one of the arms, received {arm!r}{did_you_mean(arm, self.arms)}"
            for place, arm in named.items()
            if arm is not None and arm not in self.arms
        ]
        if len(set(self.contrasts)) < len(self.contrasts) or any(one == two for one, two in self.contrasts):
            mistakes.append(
                "contrasts: expected pairs of two arms, every pair once: each counts in the correction of all"
            )
        seeds = self.all_seeds
        if not seeds or len(set(seeds)) < len(seeds):
            mistakes.append(f"seeds: expected every seed once, received {self.seeds}")
        if self.tune is not None:
            if list(self.tune.values) != sorted(set(self.tune.values)):
                mistakes.append("tune.values: expected rising values")
            mistakes += [
                f"arms.{name}.tuned_as: expected an arm that is tuned itself, received {arm.tuned_as!r}, which takes the value of "
                f"{other.tuned_as!r}; name that one"
                for name, arm in self.arms.items()
                if arm.tuned_as is not None
                and (other := self.arms.get(arm.tuned_as)) is not None
                and other.tuned_as not in (None, arm.tuned_as)
            ]
            if shared := sorted(set(self.tune.seeds) & set(seeds)):
                mistakes.append(f"tune.seeds: expected seeds that the study does not use, received {shared} of them")
        elif any(arm.tuned_as for arm in self.arms.values()):
            mistakes.append("tuned_as: expected a [tune] to take a value from")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self


def load_study(file: Path) -> StudyConfig:
    """Read a study.

    Raises:
        ConfigError: names every wrong key and value.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"expected the TOML file of a study, found nothing at {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: expected TOML in UTF-8: {error}") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: expected TOML: {error}") from None
    try:
        return StudyConfig.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {line}" for line in _explain(error))) from None


def _explain(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        *above, name = [str(part) for part in detail["loc"]] or [""]
        if detail["type"] == "extra_forbidden":
            yield f"unknown key {'.'.join((*above, name))!r}{did_you_mean(name, _keys_at(above))}"
        elif not name:
            yield str(detail["ctx"]["error"])
        else:
            yield f"{'.'.join((*above, name))}: {detail['msg']}, received {detail['input']!r}"


def _keys_at(location: list[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"arms": StudyArm, "worlds": StudyWorld, "tune": Tuning, "stop": StopRule}
    return list(models.get(location[0], StudyConfig).model_fields if location else StudyConfig.model_fields)
