"""Table in Markdown of the published chat templates: whether the renderer works with them, and their treatment of
thoughts.

    python scripts/chat_templates.py DIRECTORY ...

A directory holds ``*.jinja`` files, e.g. ``trl/chat_templates`` of an installed TRL, or ``vendor/llama.cpp/models/templates`` of
the source package of llama-cpp-python. No model and no tokenizer is needed: each template gets a tokenizer of bytes whose special
tokens are those that stand in the template.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workflow_r1.errors import UserError
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import Message

SPECIAL = re.compile(
    r"<\|[^|<>{}'\"\s]{1,40}\|>|<｜[^｜<>{}'\"]{1,40}｜>|<\|?\w+\|>|<\|\w+>|</s>|<s>|<[a-z]+_of_[a-z]+>|\[/?[A-Z_]{3,20}\]"
    r"|<(?:eos|bos|sep)>|<SPECIAL_\d+>|〈\|\w+\|〉|</?assistant>|<｜hy_\w+:\w+｜>|\]~!?b[\[\]]|\[e~\[|<\w+_(?:eos|bos|end)[^<>]*>|<(?:seed|ct)\w*:\w+>"
)
"""Special tokens of the published families."""

PROMPT = "Write <think>why</think><tool>Operator: input</tool>, then read <info>...</info>.\n\nQuestion: who?"
"""A user message with all of our tags, as the full prompt has them."""


def make_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """One token for each byte and each special token of the template; the likeliest end of a turn is its ``eos_token``."""
    special = sorted({"<|pad|>", "<|eos|>", "<|bos|>", *SPECIAL.findall(template)})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    ends = (
        "<|im_end|>",
        "<|eot_id|>",
        "<|eot|>",
        "<end_of_turn>",
        "<turn|>",
        "<|return|>",
        "<｜end▁of▁sentence｜>",
        "</s>",
    )
    end = next((token for token in ends if token in special), "<|eos|>")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token=end,
        chat_template=template,
        name_or_path="of bytes",
    )


def examine(path: Path) -> dict[str, str]:
    """Return the renderer's findings on one template: an empty ``refused`` where it works."""
    found = dict.fromkeys(("refused", "opening", "thoughts", "date"), "")
    template = path.read_text(encoding="utf-8")
    found["date"] = "yes" if "strftime_now" in template else ""
    try:
        renderer = Renderer(make_tokenizer(template))
        found["opening"] = "yes" if renderer.opening else ""
        found["thoughts"] = "dropped" if renderer.drops_thoughts() else "kept"
        user = Message(role="user", content=PROMPT)
        context = [*renderer.prompt([user]), *renderer.encode_turn("<think>a</think><tool>B: c</tool>")]
        text = renderer.tokenizer.decode(
            [*context, *renderer.increment([Message(role="user", content="d")], ended=False)]
        )
        if "<think>" not in text or not renderer.turn_text([]).startswith(renderer.opening):
            raise UserError("the turn has no thought")
    except UserError as error:
        found["refused"] = " ".join(str(error).split())
    return found


def main() -> None:
    """Print the table, and how many there are of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directories", nargs="+", type=Path)
    paths = sorted(path for directory in parser.parse_args().directories for path in directory.rglob("*.jinja"))
    counts: Counter[str] = Counter()
    print("| template | works | opens the thought | earlier thoughts | prints a date | refused because |")
    print("|---|---|---|---|---|---|")
    for path in paths:
        found = examine(path)
        works = not found["refused"]
        counts.update(
            {
                "templates": 1,
                "work": works,
                "open the thought": bool(found["opening"]),
                "drop earlier thoughts": found["thoughts"] == "dropped",
                "print a date": bool(found["date"]),
            }
        )
        cells = (
            path.name,
            "yes" if works else "no",
            found["opening"],
            found["thoughts"],
            found["date"],
            found["refused"],
        )
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    print("\n" + ", ".join(f"{number} {name}" for name, number in counts.items()))


if __name__ == "__main__":
    main()
