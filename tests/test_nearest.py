from workflow_r1.nearest import did_you_mean, nearest


def test_the_nearest_name_where_one_is_near() -> None:
    assert nearest("stpes", ["steps", "seed"]) == "steps"
    assert nearest("stpes", {"steps": 1}) == "steps"
    assert nearest("xyz", ["steps", "seed"]) is None
    assert nearest("xyz", []) is None
    assert nearest("mini", ["gpt-4o-mini-2024"], cutoff=0.3) == "gpt-4o-mini-2024"
    assert nearest("mini", ["gpt-4o-mini-2024"]) is None


def test_the_words() -> None:
    assert did_you_mean("stpes", ["steps"]) == "; did you mean 'steps'?"
    assert did_you_mean("xyz", ["steps"]) == ""
