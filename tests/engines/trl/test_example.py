"""The example for those who have a rollout of their own runs as it stands."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "trl_own_rollout.py"


def test_the_example_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("'update/turn_2/num_units'") == 2
    assert printed.count("'update/num_units': '16'") == 2


def test_gsspo_takes_ten_lines():
    main = EXAMPLE.read_text(encoding="utf-8").partition("    trainer = GSsPOTrainer(\n")[2].partition("    )\n")[0]
    assert len(main.splitlines()) <= 10
