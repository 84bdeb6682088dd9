"""Where a policy's tokenizer is looked for, and what is said where it is not."""

from pathlib import Path

import pytest

from workflow_r1.errors import UserError
from workflow_r1.policy.tokenizer import load_tokenizer


def test_a_model_that_is_not_there_is_missed_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"at 'models/none' \(no directory of that name lies in .*\): "):
        load_tokenizer("models/none")
