import pytest

from workflow_r1.recording.atomic import atomic_directory


def test_an_atomic_directory_replaces_or_leaves(tmp_path):
    target = tmp_path / "policy"
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        (temporary / "a").write_text("2")
        raise RuntimeError
    assert (target / "a").read_text() == "1"
    with atomic_directory(target) as temporary:
        (temporary / "b").write_text("3")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert [path.name for path in target.iterdir()] == ["b"]
