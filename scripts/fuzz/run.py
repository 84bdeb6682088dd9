"""Fuzz the readers of outside text: parser, neutraliser, arguments, asking, environment, client.

    python scripts/fuzz/run.py --minutes 10

Each target is given hostile texts in rounds until its share of the time is used up. A failure is shrunk to the smallest
case that shows it, written to a file with its seed, and counted once; the target continues. Exit code 1 where there was
any.
"""

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from targets import TARGETS

ROUND = 500
"""Cases of one round: short enough that the time is kept, long enough that hypothesis's start does not matter."""


def fuzz(name: str, number: int, num_cases: int) -> tuple[int, tuple[Any, BaseException] | None]:
    """Run one round of a target.

    Args:
        name: name of the target.
        number: seed of the round.
        num_cases: number of cases.

    Returns:
        Cases tried, shrinking included, and the smallest failing case with its error.
    """
    strategy, check = TARGETS[name]
    tried = 0
    last: list[Any] = []

    @seed(number)
    @settings(
        max_examples=num_cases,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def run(value: Any) -> None:
        nonlocal tried
        tried += 1
        last[:] = [value]
        check(value)

    try:
        run()
    except Exception as error:  # Whatever it is, it is a finding.
        return tried, (last[0] if last else None, error)
    return tried, None


def place_of(error: BaseException) -> str:
    """Return the kind of an error and its place: they distinguish findings."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {str(error)[:100]}"


def main() -> None:
    """Fuzz until the time is up, and print the findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all; shared equally among the targets")
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma-separated; default: all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; default: the time")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where failing cases are written")
    arguments = parser.parse_args()
    names = arguments.targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"expected targets among {', '.join(TARGETS)}; received {', '.join(unknown)}")

    started = shown = time.monotonic()
    spent: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    findings: dict[tuple[str, str], int] = {}
    rounds = 0
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, targets {', '.join(names)}", flush=True)
    while time.monotonic() - started < arguments.minutes * 60:
        name = min(names, key=lambda name: spent[name])
        began = time.monotonic()
        number = arguments.seed + rounds
        rounds += 1
        tried, failure = fuzz(name, number, ROUND)
        spent[name] += time.monotonic() - began  # type: ignore[assignment]
        cases[name] += tried
        if failure is not None:
            value, error = failure
            key = (name, place_of(error))
            if key not in findings:
                arguments.findings.mkdir(parents=True, exist_ok=True)
                file = arguments.findings / f"{name}-{number}.json"
                told = "".join(traceback.format_exception(error))
                case = {"target": name, "seed": number, "case": repr(value), "error": key[1], "traceback": told}
                file.write_text(json.dumps(case, indent=2) + "\n", encoding="utf-8")
                print(f"FINDING {name}: {key[1]}\n  case {value!r:.300}\n  written to {file}", flush=True)
            findings[key] = findings.get(key, 0) + 1
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{(shown - started) / 60:5.1f} min  {cases.total()} cases, {len(findings)} findings", flush=True)

    print(f"\n{'target':12} {'cases':>9} {'seconds':>8} {'findings':>8}")
    for name in names:
        number_found = sum(target == name for target, _ in findings)
        print(f"{name:12} {cases[name]:9d} {spent[name]:8.0f} {number_found:8d}")
    print(f"{'all':12} {cases.total():9d} {time.monotonic() - started:8.0f} {len(findings):8d}", flush=True)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
