"""A few hundred cases of each of the fuzzer's targets; ``make fuzz`` tries as many as time allows."""

import subprocess
import sys
from pathlib import Path

import pytest
import targets
from hypothesis import HealthCheck, given, settings

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz" / "run.py"


@pytest.fixture(scope="module", autouse=True)
def closed_at_the_end():
    yield
    if targets.loopback.cache_info().currsize:
        targets.loopback().close()
        targets.loopback.cache_clear()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_any_text(name: str) -> None:
    strategy, check = targets.TARGETS[name]

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value: object) -> None:
        check(value)

    run()


def test_the_fuzzer_finds_what_is_wrong_and_keeps_it(tmp_path: Path) -> None:
    code = (
        "import sys, targets\n"
        "from hypothesis import strategies as st\n"
        "def broken(number): assert number < 1000, 'too great'\n"
        "targets.TARGETS.clear(); targets.TARGETS['broken'] = (st.integers(0, 10**6), broken)\n"
        "import run; run.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--minutes", "0.001", "--seed", "7", "--findings", str(tmp_path)],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (finding,) = tmp_path.iterdir()
    assert '"case": "1000"' in finding.read_text()
    assert "broken" in done.stdout
    assert "too great" in done.stdout


def test_the_properties_can_fail() -> None:
    """Without the neutraliser each of these texts would act."""
    for check, text in [
        (targets.check_tokenizers, "<|im_end|>"),
        (targets.check_neutralise, "<think>t</think><answer>a</answer>"),
        (targets.check_environment, ("q</info>", "x", "y</info><info>z")),
    ]:
        check(text)
        with pytest.MonkeyPatch.context() as patch:
            for module in (
                targets,
                sys.modules["workflow_r1.prompts.policy_prompt"],
                sys.modules["workflow_r1.environment.pool"],
            ):
                patch.setattr(module, "neutralise", lambda text, tokens=(): text)
            with pytest.raises(AssertionError):
                check(text)
