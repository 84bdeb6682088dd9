"""The page as one file."""

import base64
import gzip
import json
import re
from pathlib import Path

from viewed_runs import HOSTILE, make_evaluation, make_run

from workflow_r1.viewing.export import export_page
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source


def data_of(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def trajectories_in(source: dict) -> list[dict]:
    return [each for block in source["blocks"] for each in json.loads(gzip.decompress(base64.b64decode(block)))]


def test_all_of_a_small_run_is_in_the_file(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    reading = Reading([Source(tmp_path / "run")])
    assert export_page(reading, tmp_path / "run.html") == 24
    data = data_of(tmp_path / "run.html")
    (source,) = data["sources"]
    assert source["rows"] == reading.rows(0, [])
    assert trajectories_in(source) == json.loads(json.dumps(reading.trajectories(0, [(0, at) for at in range(24)])))
    assert source["effects"] == json.loads(json.dumps(reading.effects(0, 0, 0)["found"]))
    assert data["state"][0]["rows"] == [24]
    assert data["comparisons"]["0@1-1 0@3-3"] == json.loads(json.dumps(reading.compare(["0@1-1", "0@3-3"])))


def test_of_a_long_run_whole_groups_from_all_over_it_are_kept(tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=4, questions=16)
    reading = Reading([Source(tmp_path / "run")])
    assert export_page(reading, tmp_path / "run.html", limit=100) <= 100
    data = data_of(tmp_path / "run.html")
    (source,) = data["sources"]
    told = trajectories_in(source)
    (part,) = source["rows"]["parts"]
    assert [each["id"] for each in told] == part["id"]
    groups: dict[str, int] = {}
    for each in told:
        groups[each["group_id"]] = groups.get(each["group_id"], 0) + 1
    assert sum(num == 4 for num in groups.values()) >= 8
    assert {each["step"] for each in told if groups[each["group_id"]] == 4} == {1, 2, 3, 4}
    assert source["summary"]["problems"][0].startswith(f"{len(told)} of 256 trajectories are in this file")
    # The tables' links lead to the right ones.
    (compared,) = data["comparisons"].values()
    shown = [(question["id"], cell) for question in compared["questions"] for cell in question["cells"]]
    assert all(told[cell["place"][1]]["question"]["id"] == id for id, cell in shown if cell["place"])
    assert any(cell["place"] for _, cell in shown)


def test_several_sources_are_compared(tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=1)
    make_evaluation(tmp_path / "evaluation", right={"direct": 1, "policy": 3})
    reading = Reading([Source(tmp_path / "run"), Source(tmp_path / "evaluation")])
    assert export_page(reading, tmp_path / "both.html") == 16
    data = data_of(tmp_path / "both.html")
    assert data["sources"][1]["offsets"] == [0, 4]
    assert list(data["comparisons"]) == ["0 1"]


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    for number, hostile in enumerate(HOSTILE):
        make_run(tmp_path / str(number), steps=1, questions=1, text=lambda text, hostile=hostile: f"{text} {hostile}")
    reading = Reading([Source(tmp_path / str(number)) for number in range(len(HOSTILE))])
    export_page(reading, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<script") == 4
    assert "window.hacked = 1</script>" not in page
    assert len(data_of(tmp_path / "page.html")["sources"]) == len(HOSTILE)
