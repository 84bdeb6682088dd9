import re
from xml.etree import ElementTree

from written_trajectories import written

from workflow_r1.workflows import trace_flow
from workflow_r1.workflows.drawing import HEIGHT, Arrow, Box, as_mermaid, as_svg, flow_drawing

HOSTILE = '"]; click n_a "javascript:alert(1)"\n<script>alert(1)</script>\x1b[0m\u202e %%{init: {}}%% end'


def flow():
    return flow_drawing(
        trace_flow(
            written(
                "Who directed Jaws?",
                (None, "I cannot say"),
                ("Ask.", "AnswerGenerate: Who directed Jaws?", "Answer: Lucas"),
                (
                    "Check.",
                    "Review: <question>Who directed Jaws?</question><solution>Lucas</solution>",
                    "Feedback: It is Spielberg.",
                ),
                ("So.", "Spielberg"),
                golden=("Spielberg",),
            )
        )
    )


def test_mermaid():
    assert as_mermaid(*flow()).splitlines() == [
        "flowchart LR",
        '    n_question(["Question"])',
        '    n_malformed_1["Malformed turn"]',
        '    n_call_2_1["AnswerGenerate<br/>call-2-1"]',
        '    n_call_3_1["Review<br/>call-3-1"]',
        '    n_answer(["Answer<br/>right"])',
        "    n_question -.-> n_malformed_1",
        '    n_question -->|"directed Jaws"| n_call_2_1',
        '    n_question -->|"directed Jaws"| n_call_3_1',
        '    n_call_2_1 -->|"Lucas"| n_call_3_1',
        '    n_call_3_1 -->|"Spielberg"| n_answer',
    ]


def test_svg_is_sound_and_no_arrow_crosses_a_box():
    boxes, arrows = flow()
    svg = as_svg(boxes, arrows, title="t")
    root = ElementTree.fromstring(svg)
    rects = [
        (float(each.get("x")), float(each.get("y")), float(each.get("width")))
        for each in root.iter("{http://www.w3.org/2000/svg}rect")
        if each.get("class") == "box"
    ]
    assert len(rects) == len(boxes)
    assert len(set(rects)) == len(boxes)
    paths = [each.get("d") for each in root.iter("{http://www.w3.org/2000/svg}path") if "edge" in each.get("class")]
    assert len(paths) == len(arrows)
    # The straight pieces are the lanes beside the boxes.
    lanes = [tuple(map(float, lane)) for path in paths for lane in re.findall(r" (\d+) (\d+)L(\d+) \d+", path)]
    assert lanes
    for left, y, right in lanes:
        assert not any(x < right and left < x + width and top < y < top + HEIGHT for x, top, width in rects)
    assert 'class="right"' in svg
    assert 'class="malformed"' in svg


def test_text_from_outside_acts_in_neither():
    boxes, arrows = [Box("a", HOSTILE, note=HOSTILE), Box("b", "b")], [Arrow("a", "b", HOSTILE)]
    mermaid = as_mermaid(boxes, arrows)
    assert len(mermaid.splitlines()) == 4
    assert not set("<>;%()\x1b\u202e") & set(mermaid.replace("<br/>", "").replace("-->", ""))
    svg = as_svg(boxes, arrows, title=HOSTILE)
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "\u202e" not in svg
    ElementTree.fromstring(svg)


def test_nothing_to_draw():
    ElementTree.fromstring(as_svg([], [], title="t"))
    assert as_mermaid([], []) == "flowchart LR"
