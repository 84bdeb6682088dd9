"""The policy that ships: its making, its skills before training, and the skills of the shipped one."""

import json

import pytest
import torch

from workflow_r1.config.run import PolicyConfig
from workflow_r1.embedded import policy_directory
from workflow_r1.embedded.demonstrations import FIRST_WORLD, SKILLS_STRATEGY, make_demonstrations
from workflow_r1.embedded.names import BEGINNINGS, ENDINGS
from workflow_r1.engines.native.embedded_policy import BuildSettings, build_policy, measure_skills, new_policy
from workflow_r1.errors import WorkflowR1Error
from workflow_r1.policy.model import load_policy_model

SHIPPED = policy_directory()
needs_policy = pytest.mark.skipif(not (SHIPPED / "config.json").is_file(), reason="no policy in this checkout")


def test_an_untrained_policy_copies_the_end_of_a_name_from_its_beginning():
    model, tokenizer = new_policy(BuildSettings(), make_demonstrations(200, strategy=SKILLS_STRATEGY))
    names = [begin + end for begin, end in zip(BEGINNINGS[::40], ENDINGS[::13], strict=False)]
    text = "".join(f" {name}" for name in names)
    endings = tokenizer.convert_tokens_to_ids(list(ENDINGS))
    copied = []
    for name in names:
        ids = tokenizer(f"{text} {name[:3]}", add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            likeliest = model(ids).logits[0, -1, endings].argmax().item()
        copied.append(ENDINGS[likeliest] == name[3:])
    assert all(copied)


def test_an_untrained_policy_has_the_difference_of_two_neighbouring_years_at_hand():
    model, tokenizer = new_policy(BuildSettings(), make_demonstrations(40, strategy=SKILLS_STRATEGY))
    pairs = [(1950, 1999), (1974, 1975), (1991, 1989), (1960, 1960)]
    ids = [tokenizer(f" Years {one} {two}", add_special_tokens=False).input_ids for one, two in pairs]
    with torch.no_grad():
        hidden = model(torch.tensor(ids), output_hidden_states=True).hidden_states[1]
    config = model.config
    before = config.hidden_size - 2 * config.hidden_size // config.num_attention_heads
    difference = hidden[:, -1, 1] - hidden[:, -1, before]
    year = (difference[0] / 49).item()
    assert difference.tolist() == pytest.approx([49 * year, year, -2 * year, 0], abs=year / 4)


@pytest.mark.slow
def test_a_policy_below_the_gate_is_refused_and_nothing_is_left(tmp_path):
    settings = BuildSettings(num_skill_demonstrations=40, num_mixture_demonstrations=20, num_skill_questions=20)
    lines = []
    with pytest.raises(WorkflowR1Error, match=r"0\.98"):
        build_policy(tmp_path / "policy", settings=settings, on_progress=lines.append)
    assert not (tmp_path / "policy").exists()
    assert len(lines) == 5


def test_skills_are_counted_by_span():
    demonstrations = make_demonstrations(60, strategy=SKILLS_STRATEGY)
    model, tokenizer = new_policy(BuildSettings(), demonstrations)
    measured = measure_skills(model, tokenizer, demonstrations)
    assert set(measured) <= {"copy", "read", "notice", "compare"}
    assert {"copy", "read"} <= set(measured)
    assert all(0 <= share < 0.5 for share in measured.values())  # it was never trained


@needs_policy
def test_the_shipped_policy_is_small_and_says_what_it_can_do():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 12 * 2**20
    stated = json.loads((SHIPPED / "skills.json").read_text())
    model, tokenizer = load_policy_model(PolicyConfig(device="cpu"))
    held_out = make_demonstrations(150, strategy=SKILLS_STRATEGY, first_world=FIRST_WORLD - 2, split="evaluation")
    measured = measure_skills(model, tokenizer, held_out)
    for skill, share in stated.items():
        # The rarest skill has some 40 spans here: three standard errors, and a little for figures near 1.
        tolerance = 3 * (share * (1 - share) / 40) ** 0.5 + 0.02
        assert measured[skill] == pytest.approx(share, abs=tolerance), skill
