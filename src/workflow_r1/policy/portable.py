"""Makes models saved by transformers 5 readable by transformers 4, which many servers and tools still use.

Measured with transformers 4.57 (November 2026): it does not know the tokenizer class ``TokenizersBackend``, breaks on a
list of ``extra_special_tokens``, and reads ``rope_parameters`` past: such a model loads without a word, with another
rotary base. transformers 5 reads the older words as well.
"""

import json
from pathlib import Path
from typing import Any

from workflow_r1.trajectory.storage import write_atomically


def make_portable(directory: Path) -> None:
    """Add the words of transformers 4 to the configuration files of a saved model.

    Args:
        directory: a model as ``save_pretrained`` writes it; its files are changed in place.
    """
    _change(directory / "config.json", _older_config)
    _change(directory / "tokenizer_config.json", _older_tokenizer)


def _older_config(values: dict[str, Any]) -> dict[str, Any]:
    rope = values.get("rope_parameters")
    # Parameters for each kind of layer have no older words.
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return values
    older = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    if rope.get("rope_type", "default") != "default":
        older["rope_scaling"] = {key: value for key, value in rope.items() if key not in older}
    return {**older, **values}


def _older_tokenizer(values: dict[str, Any]) -> dict[str, Any]:
    older = dict(values)
    if older.get("tokenizer_class") == "TokenizersBackend":
        older["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(older.get("extra_special_tokens"), list):
        older["additional_special_tokens"] = older.pop("extra_special_tokens")
    return older


def _change(path: Path, change: Any) -> None:
    if not path.is_file():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    changed = change(values)
    if changed != values:
        write_atomically(path, json.dumps(changed, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
