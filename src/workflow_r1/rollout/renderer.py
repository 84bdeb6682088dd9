r"""Renders messages as tokens by the model's own chat template, without ever tokenising a policy's turn again.

The context of a session is a sequence of tokens that only grows. For a ChatML model (``E`` is its end-of-turn token)::

    prompt                               turn 1             increment                                      turn 2
    <|im_start|>user\n..E\n<|im_start|>assistant\n   <think>..</tool>E
    \n<|im_start|>user\n<info>..E\n<|im_start|>assistant\n   <think>..E

The prompt is the template's rendering of the messages. The increment is the template's text between the end-of-turn
token of one assistant's message and the beginning of the next; it is read off the template once, from a conversation of
placeholders. A turn that stopped without the end-of-turn token (at its action, or cut off) is closed by it: there the
token is context, since the policy did not write it.

Many templates open the thought themselves: their text before a turn ends in ``<think>``. Those tokens are context, like
everything that the template writes, but the turn's *text* begins with that opening. One grammar then reads every turn::

    ..<|im_start|>assistant\n<think>\n   why</think><tool>..</tool>E        text: <think>\nwhy</think><tool>..</tool>

Outside text never becomes control: the rendered special tokens must be those of the template alone. Text
that would add one is encoded again as plain text.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from pydantic import Field

from workflow_r1.errors import DataError, UserError
from workflow_r1.prompts.grammar import TAGS
from workflow_r1.trajectory import Message
from workflow_r1.trajectory.records import Record

_OPENING = re.compile(r"<think>\s*\Z")
"""The thought that a generation prompt opens. One that it also closes (an empty thought) does not match."""

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Fields in which templates look for the thought of an assistant's message."""


class TemplateConfig(Record):
    """Arguments of the policy's chat template besides the messages."""

    today: date = date(2026, 1, 1)
    """The date that a template prints as today's. It is fixed, since prompts would otherwise differ from day to day."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further variables of the template, e.g. ``{enable_thinking = false}``. A chat server gets them as
    ``chat_template_kwargs``."""


class Renderer:
    """Chat template and tokenizer of one policy."""

    def __init__(self, tokenizer: Any, template: TemplateConfig | None = None) -> None:
        """Read the template.

        Args:
            tokenizer: a Hugging Face tokenizer (fast or slow) with a chat template.
            template: the date that it prints and its further variables; None leaves the defaults.

        Raises:
            UserError: it has no chat template, the template cannot render a conversation, puts no special token after
                an assistant's message, or ends the thought with the token that ends the message.
        """
        name = getattr(tokenizer, "name_or_path", "") or "of the policy"
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"expected a tokenizer with a chat template, but the tokenizer {name} has none: use an instruction-tuned "
                "model, or put a `chat_template.jinja` beside the tokenizer"
            )
        self.tokenizer = tokenizer
        self._name = name
        template = template or TemplateConfig()
        self._variables = {**template.kwargs, **_with_fixed_date(tokenizer.get_chat_template(), template.today)}
        added = {index: token for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special_ids = frozenset(added) | frozenset(tokenizer.all_special_ids)
        self.special_tokens: tuple[str, ...] = tuple(
            tokenizer.convert_ids_to_tokens(index) for index in sorted(self._special_ids)
        )
        """Special tokens as strings, which outside text must not be able to write."""
        self._pieces = lru_cache(maxsize=64)(self._read_template)
        self._template_specials = lru_cache(maxsize=64)(self._find_template_specials)
        self._prompt = lru_cache(maxsize=256)(self._render_prompt)
        self.end_of_turn_id = self._find_end_of_turn()
        """The token that ends an assistant's message."""
        self._refuse_a_closed_thought()
        opening = _OPENING.search(self._pieces(("user",))[-1])
        self.opening: str = "" if opening is None else opening.group()
        """Beginning of a turn that the template writes: ``<think>`` and the whitespace after it, or nothing."""

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Render the opening of a session: the messages and the opening of the policy's first turn."""
        return self._prompt(tuple(messages))

    def _render_prompt(self, given: tuple[Message, ...]) -> tuple[int, ...]:
        messages = [_encodable(message) for message in given]
        pieces = self._pieces(tuple(message.role for message in messages))
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        text = self._apply(conversation)
        self._require_contents(text, messages)
        return tuple(self._encode(text, pieces, [message.content for message in messages]))

    def increment(self, messages: Sequence[Message], *, ended: bool) -> tuple[int, ...]:
        """Render the text between two turns: the messages and the opening of the policy's next turn.

        Args:
            messages: messages to the policy, normally one user message.
            ended: True where the turn before ended in the end-of-turn token; otherwise that token comes first.
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
        """Render the continuation of a context: the prompt where it is empty, else the text after the turn that ends it.

        Args:
            context: tokens so far.
            messages: the prompt's, or the messages after a turn.
        """
        if not context:
            return self.prompt(messages)
        return self.increment(messages, ended=context[-1] == self.end_of_turn_id)

    def turn_text(self, token_ids: Sequence[int]) -> str:
        """Return the text of a turn, with the opening that the template wrote and without the end-of-turn token.

        Args:
            token_ids: tokens of the policy, from the first token of its turn on.
        """
        return self.opening + self.decode(token_ids)

    def num_think_tokens(self, token_ids: Sequence[int]) -> int:
        """Return how many of a turn's tokens, from its first, are its think: up to the one that completes ``</think>``.

        A token that holds the end of the tag and text after it belongs to the think. All do where the think never ends, none
        where the turn does not begin with one.

        Args:
            token_ids: all tokens of the turn.
        """
        if not self.turn_text(token_ids).lstrip().startswith("<think>"):
            return 0
        return bisect_left(range(len(token_ids)), True, key=lambda end: "</think>" in self.turn_text(token_ids[:end]))

    def drops_thoughts(self) -> bool:
        """Return True where the template drops the thoughts of earlier turns when a chat server renders a whole conversation.

        It does not concern this renderer, which never renders a turn again.
        """
        turn = {"role": "assistant", "content": "<think>wr1thoughtend</think><tool>wr1: tool</tool>"}
        user = {"role": "user", "content": "wr1user"}
        return "wr1thoughtend" not in self._apply([user, turn, user])

    def encode_turn(self, text: str) -> tuple[int, ...]:
        """Return the tokens that a policy writes for a turn of this text: without the opening, which is the template's.

        Raises:
            DataError: the template opens the thought, and the turn does not begin with one.
        """
        if self.opening:
            before, found, written = text.partition("<think>")
            if not found or before.strip():
                raise DataError(
                    f"expected a turn that begins with <think>, since the chat template of the tokenizer {self._name} opens "
                    f"the thought, received {text[:60]!r}: leave such demonstrations out"
                )
            text = written.removeprefix(self.opening.removeprefix("<think>"))
        # Our tags are single tokens of some vocabularies; any other special token in the text is text.
        tags = [tag for tag in TAGS if tag in self.special_tokens]
        parts = re.split(f"({'|'.join(tags)})", text) if tags else [text]
        ids = (self._encode_text(part, split_special_tokens=part not in tags) for part in parts)
        return tuple(index for part in ids for index in part)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of some tokens of a turn, without the end-of-turn token at their end."""
        if token_ids and token_ids[-1] == self.end_of_turn_id:
            token_ids = token_ids[:-1]
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _find_end_of_turn(self) -> int:
        closing = self._pieces(("user", "assistant", "user"))[2]
        found = [index for index in self._encode_text(closing) if index in self._special_ids]
        if not found:
            raise UserError(
                f"expected the chat template to end an assistant's message with a special token, but the template of the "
                f"tokenizer {self._name} has {closing!r} there: use a model whose template marks the end of a turn "
                "(`<|im_end|>`, `<|eot_id|>`, `</s>`, ...)"
            )
        eos = self.tokenizer.eos_token_id
        end = eos if eos in found else found[0]
        self._end_of_turn = self.tokenizer.convert_ids_to_tokens(end)
        return int(end)

    def _refuse_a_closed_thought(self) -> None:
        """Refuse a template in which the token that ends a message also ends the thought (gpt-oss' channels).

        Raises:
            UserError: a turn of such a policy would end with its thought, before any action.
        """
        thought, content = "wr1thoughtend", "wr1contentend"
        for fields in ({"content": f"<think>{thought}</think>{content}"}, *({f: thought} for f in _REASONING_FIELDS)):
            message = {"role": "assistant", "content": content, **fields}
            try:
                text = self._apply([{"role": "user", "content": "wr1user"}, message], generation=False)
            except UserError:
                continue  # It knows no such field, or wants the conversation to continue.
            between, found, _ = text.partition(thought)[2].partition(content)
            if found and self._end_of_turn in between:
                raise UserError(
                    f"expected the end-of-turn token to end the whole turn, but in the chat template of the tokenizer "
                    f"{self._name} {self._end_of_turn!r} already ends the thought (as in gpt-oss), so that a turn would end "
                    "before its action: such templates are not supported, use another model"
                )

    def _require_contents(self, text: str, messages: Sequence[Message]) -> None:
        """Refuse a rendering that lacks the content of a message, or has changed it; whitespace around it may go.

        Raises:
            UserError: names the message.
        """
        for message in messages:
            content = message.content.strip()
            _, found, rest = text.partition(content) if content else ("", content, text)
            if content and not found:
                raise UserError(
                    f"expected the chat template of the tokenizer {self._name} to keep the content of each message, "
                    f"but it changed or dropped that of a {message.role} message, which begins with "
                    f"{content[:60]!r} (some delete words such as /think, and with them our tags): use another template"
                )
            text = rest

    def _apply(self, conversation: Sequence[Mapping[str, Any]], *, generation: bool = True) -> str:
        """Render a conversation.

        Raises:
            UserError: the template refuses it or fails.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    conversation, add_generation_prompt=generation, tokenize=False, **self._variables
                )
            )
        except Exception as error:  # A template may fail in any way that a program can.
            roles = ", ".join(message["role"] for message in conversation)
            raise UserError(
                f"expected the chat template of the tokenizer {self._name} to render messages of the roles {roles}, but it "
                f"failed: {str(error).strip() or type(error).__name__}"
            ) from error

    def _read_template(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        """Return the template's own text before, between and after the contents of messages with these roles."""
        contents = [f"wr1content{index}end" for index in range(len(roles))]
        conversation = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        text = self._apply(conversation)
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


_DATE_DIRECTIVES = tuple(f"%{letter}" for letter in ("-d", "-m", "-I", "-H", "-M", *"aAwdbBmyYHIMpSfjUWcxX"))
"""Directives that ``strftime`` replaces; transformers takes local time without a zone."""


def _with_fixed_date(template: str, today: date) -> dict[str, str]:
    """Return the template with a ``strftime_now`` of its own that prints ``today``, where it asks for the date at all.

    transformers turns a function among the variables into text (5.23), so the template must define its own.
    """
    if "strftime_now" not in template:
        return {}
    now = datetime.combine(today, time())
    replaced = "".join(f".replace('{directive}', '{now.strftime(directive)}')" for directive in _DATE_DIRECTIVES)
    # `+%}` keeps a line break with which the template itself begins.
    macro = "{%- macro strftime_now(format) -%}{{ format" + replaced + " }}{%- endmacro +%}"
    return {"chat_template": macro + template}


def _encodable(message: Message) -> Message:
    """Replace lone surrogates, which no tokenizer takes."""
    try:
        message.content.encode("utf-8")
    except UnicodeEncodeError:
        content = message.content.encode("utf-8", "replace").decode("utf-8")
        return Message(role=message.role, content=content)
    return message
