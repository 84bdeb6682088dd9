"""Precision and recall of the traced flow of data against labels that do not come from it."""

import json
from pathlib import Path

from traced_demonstrators import traced_demonstrations
from written_trajectories import written

from workflow_r1.embedded import STRATEGIES
from workflow_r1.workflows import trace_flow

LABELLED = Path(__file__).with_name("labelled_flows.json")
"""Invented trajectories in the style of real ones, labelled by hand before the first comparison: ``q`` is the question, ``c2``
the call of the second turn, ``t3`` the third turn's thought, ``a`` the answer."""


def precision_and_recall(pairs):
    pairs = list(pairs)
    hits = sum(len(found & labelled) for found, labelled in pairs)
    return hits / sum(len(found) for found, _ in pairs), hits / sum(len(labelled) for _, labelled in pairs)


def data(flow):
    return {(edge.source, edge.target) for edge in flow.edges if edge.kind == "data"}


def without_thoughts(edges):
    """Let the data that a thought took in reach the nodes that it gave them to."""

    def origins(node):
        if not node.startswith("thought"):
            return {node}
        return {origin for source, target in edges if target == node for origin in origins(source)}

    return {
        (origin, target) for source, target in edges if not target.startswith("thought") for origin in origins(source)
    }


def test_demonstrators_of_the_embedded_world_labelled_by_their_scripts(monkeypatch):
    labelled = [
        (without_thoughts(data(trace_flow(trajectory))), edges)
        for strategy in STRATEGIES.values()
        for trajectory, edges in traced_demonstrations(strategy, 12, monkeypatch)
    ]
    assert len(labelled) == 108
    assert sum(len(edges) for _, edges in labelled) > 400
    precision, recall = precision_and_recall(labelled)
    assert precision >= 0.99
    assert recall >= 0.99


def test_free_text_labelled_by_hand():
    def id_of(name):
        return {"q": "question", "a": "answer", "c": f"call-{name[1:]}-1", "t": f"thought-{name[1:]}"}[name[0]]

    labelled = [
        (
            data(trace_flow(written(each["question"], *each["turns"]))),
            {tuple(map(id_of, edge.split(">"))) for edge in each["edges"]},
        )
        for each in json.loads(LABELLED.read_text("utf-8"))
    ]
    assert len(labelled) == 30
    precision, recall = precision_and_recall(labelled)
    assert precision >= 0.95
    assert recall >= 0.95
