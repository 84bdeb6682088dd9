r"""From messages to tokens by the model's own chat template, without ever tokenising a policy's turn again.

The context of a session is a sequence of tokens that only grows. For a ChatML model (``E`` is its end-of-turn token)::

    prompt                               turn 1             increment                                      turn 2
    <|im_start|>user\n..E\n<|im_start|>assistant\n   <think>..</tool>E   \n<|im_start|>user\n<info>..E\n<|im_start|>assistant\n   <think>..E

The prompt is what the template makes of the messages. The increment is what the template puts between the end-of-turn
token of an assistant's message and the next one around the messages in between; it is read off the template once, from a
conversation of placeholders. A turn that stopped without the end-of-turn token (at its action, or cut off) is closed by
it: there the token is context, since the policy did not write it.

Outside text never becomes control: the special tokens of what is rendered must be those of the template alone. Text that
would add one is encoded again as plain text.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from workflow_r1.errors import UserError
from workflow_r1.trajectory import Message


class Renderer:
    """Chat template and tokenizer of one policy."""

    def __init__(self, tokenizer: Any) -> None:
        """Read the template.

        Args:
            tokenizer: a Hugging Face tokenizer (fast or slow) with a chat template.

        Raises:
            UserError: it has no chat template, or the template puts no special token after an assistant's message.
        """
        name = getattr(tokenizer, "name_or_path", "") or "of the policy"
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"expected a tokenizer with a chat template, but the tokenizer {name} has none: use an instruction-tuned "
                "model, or put a `chat_template.jinja` beside the tokenizer"
            )
        self.tokenizer = tokenizer
        added = {index: token for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special_ids = frozenset(added) | frozenset(tokenizer.all_special_ids)
        self.special_tokens: tuple[str, ...] = tuple(
            tokenizer.convert_ids_to_tokens(index) for index in sorted(self._special_ids)
        )
        """Special tokens as strings: what outside text must not be able to write."""
        self._pieces = lru_cache(maxsize=64)(self._read_template)
        self._template_specials = lru_cache(maxsize=64)(self._find_template_specials)
        self._prompt = lru_cache(maxsize=256)(self._render_prompt)
        self.end_of_turn_id = self._find_end_of_turn(name)
        """The token that ends an assistant's message."""

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Render the opening of a session: the messages and the opening of the policy's first turn."""
        return self._prompt(tuple(messages))

    def _render_prompt(self, given: tuple[Message, ...]) -> tuple[int, ...]:
        messages = [_encodable(message) for message in given]
        pieces = self._pieces(tuple(message.role for message in messages))
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        text = self.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        return tuple(self._encode(text, pieces, [message.content for message in messages]))

    def increment(self, messages: Sequence[Message], *, ended: bool) -> tuple[int, ...]:
        """Render what comes between two turns: the messages and the opening of the policy's next turn.

        Args:
            messages: what the policy is told, normally one user message.
            ended: the turn before ended in the end-of-turn token; otherwise that token comes first.
        """
        messages = [_encodable(message) for message in messages]
        contents = [message.content for message in messages]
        roles = ("user", "assistant", *(message.role for message in messages))
        closing, *others = self._pieces(roles)[2:]
        pieces = (closing[closing.index(self._end_of_turn) :], *others)
        text = "".join([pieces[0], *(part for pair in zip(contents, pieces[1:], strict=True) for part in pair)])
        ids = self._encode(text, pieces, contents)
        # Some tokenizers put a space before any text: what precedes the end-of-turn token belongs to no one.
        first = ids.index(self.end_of_turn_id)
        return tuple(ids[first + int(ended) :])

    def continuation(self, context: Sequence[int], messages: Sequence[Message]) -> tuple[int, ...]:
        """Render what a context goes on with: the prompt where it is empty, else what comes after the turn that ends it.

        Args:
            context: tokens so far.
            messages: the prompt's, or what the policy is told.
        """
        if not context:
            return self.prompt(messages)
        return self.increment(messages, ended=context[-1] == self.end_of_turn_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of a turn, without the end-of-turn token at its end."""
        if token_ids and token_ids[-1] == self.end_of_turn_id:
            token_ids = token_ids[:-1]
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _find_end_of_turn(self, name: str) -> int:
        closing = self._pieces(("user", "assistant", "user"))[2]
        found = [index for index in self._encode_text(closing) if index in self._special_ids]
        if not found:
            raise UserError(
                f"expected the chat template to end an assistant's message with a special token, but the template of the "
                f"tokenizer {name} has {closing!r} there: use a model whose template marks the end of a turn "
                "(`<|im_end|>`, `<|eot_id|>`, `</s>`, ...)"
            )
        eos = self.tokenizer.eos_token_id
        end = eos if eos in found else found[0]
        self._end_of_turn = self.tokenizer.convert_ids_to_tokens(end)
        return int(end)

    def _read_template(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        """Return the template's own text before, between and after the contents of messages with these roles."""
        contents = [f"wr1content{index}end" for index in range(len(roles))]
        conversation = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        text = self.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        pieces = []
        for content in contents:
            before, found, text = text.partition(content)
            if not found:
                raise UserError(
                    f"expected the chat template to render messages of the roles {', '.join(roles)} in order, but it "
                    "leaves one out: use another chat template"
                )
            pieces.append(before)
        return (*pieces, text)

    def _encode(self, text: str, pieces: Sequence[str], contents: Sequence[str]) -> list[int]:
        """Encode rendered text; where its contents would add special tokens, encode them as plain text."""
        ids = self._encode_text(text)
        if self._specials(ids) == self._template_specials(tuple(pieces)):
            return ids
        return self._encode_apart(pieces, contents)

    def _encode_apart(self, pieces: Sequence[str], contents: Sequence[str]) -> list[int]:
        ids = self._encode_text(pieces[0])
        for content, piece in zip(contents, pieces[1:], strict=True):
            plain = self._encode_text(content, split_special_tokens=True)
            if self._specials(plain):  # A vocabulary that spells a special token as an ordinary one.
                plain = [index for character in content for index in self._encode_text(character)]
            ids += [*plain, *self._encode_text(piece)]
        return ids

    def _encode_text(self, text: str, **options: bool) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False, **options)) if text else []

    def _specials(self, ids: Sequence[int]) -> list[int]:
        return [index for index in ids if index in self._special_ids]

    def _find_template_specials(self, pieces: tuple[str, ...]) -> list[int]:
        return [index for piece in pieces for index in self._specials(self._encode_text(piece))]


def _encodable(message: Message) -> Message:
    """Replace lone surrogates, which no tokenizer takes."""
    try:
        message.content.encode("utf-8")
    except UnicodeEncodeError:
        content = message.content.encode("utf-8", "replace").decode("utf-8")
        return Message(role=message.role, content=content)
    return message
