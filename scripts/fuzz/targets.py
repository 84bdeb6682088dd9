"""Properties that hold for any text: one function per target, which raises where a text breaks one."""

import asyncio
import json
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from hostile_texts import ARGUMENT_TAGS, OUR_TAGS, SPECIAL_TOKENS, hostile, pieces
from hypothesis import strategies as st

from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.errors import ServiceError
from workflow_r1.inference import ChatReply, ChatRequest, OpenAIChatConfig, OpenAIChatModel, ScriptedChatModel
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.operators.arguments import parse_arguments
from workflow_r1.operators.asking import ask_llm, read_parts, render_request
from workflow_r1.printable import printable
from workflow_r1.prompts import neutralise, parse_turn
from workflow_r1.reports.summary import escape_markdown
from workflow_r1.retrieval import Passage
from workflow_r1.rollout.chat_policy import restore_closing_tag
from workflow_r1.trajectory import FinishReason, Message, Question, Usage

CONTROL = {form for token in (*OUR_TAGS, *ARGUMENT_TAGS, *SPECIAL_TOKENS) for form in (token, token.replace("▁", " "))}


def require(holds: bool, what: str) -> None:
    """Raise where a property does not hold; ``assert`` would be left out under ``-O``."""
    if not holds:
        raise AssertionError(what)


# ------------------------------------------------------------------------------------------------------------ grammar


def check_grammar(text: str) -> None:
    """Any string is read, and the result is consistent."""
    turn = parse_turn(text)
    require(not (turn.calls and turn.answer is not None), "both calls and an answer")
    require(not (turn.well_formed and turn.malformed), "both well formed and malformed")
    require(turn.malformed or (turn.think is not None and bool(turn.calls or turn.answer)), "nothing to act on")
    if turn.well_formed:
        action = "".join(f"<tool>{call.operator}: {call.input}</tool>" for call in turn.calls)
        action = action or f"<answer>{turn.answer}</answer>"
        require(parse_turn(f"<think>{turn.think}</think>{action}") == turn, "written out again it is another turn")
    again = parse_turn(restore_closing_tag(text))
    require(turn.malformed or again.calls[: len(turn.calls)] == turn.calls, "closing a tag changed an earlier call")


# --------------------------------------------------------------------------------------------------------- neutralise


def as_tokenizers_see(text: str) -> set[str]:
    """A text after the normalisations that tokenizers apply."""
    visible = "".join(c for c in text if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cf"))
    return {
        text,
        visible,
        unicodedata.normalize("NFKC", text),
        unicodedata.normalize("NFKC", visible),
        unicodedata.normalize("NFD", visible),
        unicodedata.normalize("NFC", text),
        visible.replace(" ", "▁"),
        visible.replace("▁", " "),
    }


def check_neutralise(text: str) -> None:
    """The result is as long, stays as it is, is UTF-8, and holds no control in any normal form."""
    safe = neutralise(text)
    require(len(safe) == len(text), "another length")
    require(neutralise(safe) == safe, "a second pass changes it")
    safe.encode("utf-8")
    for seen in as_tokenizers_see(safe):
        for token in CONTROL:
            require(token not in seen, f"{token!r} is still there")
    turn = parse_turn(safe)
    require(turn.malformed and not turn.calls and turn.answer is None, "outside text alone is an action")
    turn = parse_turn(f"<think>{safe}</think><tool>Search: x{safe}</tool><info>{safe}</info>")
    require(len(turn.calls) == 1 and turn.answer is None and not turn.malformed, "outside text changes a turn")


@lru_cache(maxsize=1)
def hostile_tokenizers() -> list[tuple[str, Any, frozenset[int]]]:
    """Small tokenizers with the special tokens of every family, under every normaliser, and their special ids."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    normal_forms = {
        "none": None,
        "NFC": normalizers.NFC(),
        "NFKC": normalizers.NFKC(),
        "Nmt, NFKC": normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()]),
        "spaces as ▁": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    }
    made = []
    for name, normalizer in normal_forms.items():
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        # Some families look for a token in the text as it is, others in the normalised text.
        tokens = [AddedToken(token, normalized=token not in SPECIAL_TOKENS, special=True) for token in sorted(CONTROL)]
        tokenizer.add_special_tokens(tokens)
        for token in SPECIAL_TOKENS:
            tokenizer.add_special_tokens([AddedToken(token, normalized=name != "none", special=True)])
        made.append((name, tokenizer, frozenset(tokenizer.get_added_tokens_decoder())))
    return made


def check_tokenizers(text: str) -> None:
    """No tokenizer of any family makes a special token of outside text."""
    safe = neutralise(text)
    for name, tokenizer, special in hostile_tokenizers():
        encoding = tokenizer.encode(safe, add_special_tokens=False)
        found = [token for index, token in zip(encoding.ids, encoding.tokens, strict=True) if index in special]
        require(not found, f"{found} under the normaliser {name}")


# ---------------------------------------------------------------------------------------------------------- arguments


def check_arguments(given: tuple[str, str, str]) -> None:
    """Any input is read, and outside text inside an argument cannot end it."""
    text, one, other = given
    for operator in OPERATORS.values():
        read = parse_arguments(text, operator.arguments)
        for value in read.values.values():
            for part in value if isinstance(value, list) else [value]:
                require(bool(part) and part == part.strip(), "an empty or unstripped value")
        require(bool(read.problems) or set(read.values) == {a.name for a in operator.arguments}, "incomplete")
    one, other = neutralise(one).strip() or "x", neutralise(other).strip() or "y"
    call = f"<question>{one}</question>\n<solution>{other}</solution>"
    read = parse_arguments(call, OPERATORS["Review"].arguments)
    require(read.values == {"question": one, "solution": other} and not read.problems, f"an argument broke: {read}")


# ------------------------------------------------------------------------------------------------------------- asking

REPLY = {"reasoning": "why", "answer": "what"}


def check_asking(given: tuple[list[tuple[str, bool]], str]) -> None:
    """Any replies are read in at most three attempts, and an input cannot forge a part of the request."""
    replies, text = given
    request = render_request("Do it.", [("question", text), ("solution", text)], REPLY)
    require(request.count("<question>") == 1 and request.count("</question>") == 1, "an input forged a tag")
    require(request.count("<answer>") == 1 and request.count("</answer>") == 1, "an input forged a tag of the reply")
    chat = ScriptedChatModel(
        [
            ChatReply(reply, FinishReason.LENGTH if cut else FinishReason.STOP, Usage(llm_calls=1))
            for reply, cut in replies
        ]
    )
    services = OperatorServices(chat=chat, config=OperatorConfig(max_attempts=len(replies), max_tokens=64))
    reply = asyncio.run(ask_llm(services, instructions="Do it.", inputs=[("question", text)], reply=REPLY))
    require(set(reply.parts) <= set(REPLY), "a part that was not asked for")
    require(all(part.strip() for part in reply.parts.values()), "an empty part")
    require(1 <= len(chat.requests) <= len(replies), "more attempts than allowed")
    for asked in chat.requests:
        require(all(len(message.content) < 2000 + 4 * len(text) for message in asked.messages), "a request grew")
    read_parts(text, tuple(REPLY))


# -------------------------------------------------------------------------------------------------------- environment


def check_environment(given: tuple[str, str, str]) -> None:
    """A policy that writes anything, over services that return anything, stays within the rules."""
    question, turn, outside = given

    async def search(query: str, *, k: int) -> list[Passage]:
        return [Passage(id="1", title=outside[:40], text=outside, score=1.0)]

    config = EnvironmentConfig(operators=("Search", "AnswerGenerate", "ScEnsemble"), max_operator_calls=3, max_turns=4)
    chat = ScriptedChatModel(lambda messages: outside)
    environment = QuestionEnvironment(
        Question(id="q", text=question, golden_answers=()),
        config=config,
        operators=OPERATORS,
        services=OperatorServices(chat=chat, search=search),
    )
    prompt = environment.initial_messages()[0].content
    require(prompt.count("</info>") == 1, "the question forged an observation")

    async def act() -> None:
        for text in (turn, f"<think>t</think><tool>Search: {outside or 'x'}</tool>", turn):
            step = await environment.step(text)
            if step.stop_reason is not None:
                require(step.answer is None or step.answer == parse_turn(text).answer, "an answer of nobody's")
                return
            told = max(1, len(step.calls)) + ("No operator calls are left" in step.observation)
            blocks = step.observation.count("<info>")
            require(blocks == step.observation.count("</info>") and blocks <= told, "an observation forged another")
            for call in step.calls:
                require(len(call.observation) <= max(config.max_observation_chars, 400), "an observation too long")
                require(not call.valid or neutralise(call.observation) == call.observation, "a call that can act")

    asyncio.run(act())


# ------------------------------------------------------------------------------------------------- terminal and report


def check_terminal(text: str) -> None:
    """Nothing that a terminal acts on is left, and all else is."""
    shown = printable(text)
    shown.encode("utf-8")
    require(printable(shown) == shown, "a second pass changes it")
    for character in shown:
        require(character in "\n\t" or unicodedata.category(character) != "Cc", f"{character!r} is still there")
        require(not 0x202A <= ord(character) <= 0x202E and not 0x2066 <= ord(character) <= 0x2069, "reordered")
    kept = text.replace("\r\n", "\n")
    require(len(shown) == len(kept), "another length")


def check_markdown(text: str) -> None:
    """Escaped text is a paragraph of text: no HTML, link, picture, code or emphasis."""
    from markdown_it import MarkdownIt

    line = f"x {escape_markdown(text)} x"
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(line)
    require(
        [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], "more than a paragraph"
    )
    kinds = {child.type for child in tokens[1].children or []}
    require(kinds <= {"text", "text_special"}, f"Markdown acts: {kinds}")


# -------------------------------------------------------------------------------------------------------------- client


class Loopback:
    """A server on this machine that sends any bytes on demand, and a client that asks it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._reply = b""
        self._runner.run(self._start())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        config = OpenAIChatConfig(
            model="m", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout_seconds=10.0, concurrency=1
        )
        self._chat = OpenAIChatModel(config)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(self._reply)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def ask(self, reply: bytes) -> ChatReply | ServiceError:
        """Return the client's reading of a whole HTTP reply."""
        self._reply = reply

        async def main() -> ChatReply | ServiceError:
            try:
                return await self._chat(ChatRequest((Message(role="user", content="q"),)))
            except ServiceError as error:
                return error

        return self._runner.run(main())

    def close(self) -> None:
        """Close client and server."""

        async def end() -> None:
            await self._chat.aclose()
            self._server.close()

        self._runner.run(end())
        self._runner.close()


@lru_cache(maxsize=1)
def loopback() -> Loopback:
    """The one server and client of this process."""
    return Loopback()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def completions(draw: st.DrawFn) -> bytes:
    """A chat completion of which any part may be something else."""

    def maybe(value: Any) -> Any:
        return draw(json_values) if draw(st.integers(0, 5)) == 0 else value

    message = maybe({"role": "assistant", "content": maybe(draw(hostile)), "refusal": maybe(None)})
    choice = maybe({"index": 0, "finish_reason": maybe("length"), "message": message})
    usage = maybe({"prompt_tokens": maybe(7), "completion_tokens": maybe(3)})
    body = maybe({"id": "c", "model": maybe("m"), "choices": maybe([choice]), "usage": usage})
    encoded = json.dumps(body).encode()
    cut = draw(st.integers(0, len(encoded))) if draw(st.integers(0, 9)) == 0 else len(encoded)
    return encoded[:cut]


@st.composite
def http_replies(draw: st.DrawFn) -> bytes:
    """A whole HTTP reply: mostly a completion with an odd status or header, sometimes no HTTP at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=200))
    body = draw(completions() | completions() | st.binary(max_size=100))
    status = draw(st.sampled_from([200] * 6 + [100, 204, 301, 307, 400, 401, 404, 413, 429, 500, 503, 599, 999, 0]))
    kind = draw(
        st.sampled_from(
            ["application/json"] * 5 + ["text/html", "application/json; charset=zlib", "text/event-stream", "", "é"]
        )
    )
    headers = draw(
        st.lists(
            st.sampled_from(
                ["Retry-After: 1e999", "Retry-After: -1", "Retry-After: nan", "Retry-After: Fri, 99 Foo", "Location: http://169.254.169.254/",
                 "Content-Encoding: gzip", "Content-Encoding: br", "Transfer-Encoding: chunked", "Set-Cookie: a=b", "X: \x1b[2J", "Location: ://[", "x-should-retry: true",
                 "retry-after-ms: -5", "Content-Length: 5"]
            ),
            max_size=2,
        )
    )  # fmt: skip
    lengths = (
        []
        if any(name.startswith(("Content-Length", "Transfer")) for name in headers)
        else [f"Content-Length: {len(body)}"]
    )
    head = "\r\n".join([f"HTTP/1.1 {status} Odd", f"Content-Type: {kind}", *lengths, *headers, "Connection: close"])
    return head.encode("utf-8") + b"\r\n\r\n" + body


def check_client(reply: bytes) -> None:
    """A server that sends anything gives a reply, or a failure of the service in one short line."""
    result = loopback().ask(reply)
    if isinstance(result, ServiceError):
        require(len(str(result)) < 1500 and len(str(result).splitlines()) == 1, f"a long message: {result}")
        return
    result.text.encode("utf-8")
    require(result.usage.prompt_tokens >= 0 and result.usage.completion_tokens >= 0, "negative tokens")


TARGETS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "grammar": (hostile, check_grammar),
    "neutralise": (hostile, check_neutralise),
    "tokenizers": (hostile, check_tokenizers),
    "arguments": (st.tuples(hostile, hostile, hostile), check_arguments),
    "asking": (
        st.tuples(
            st.lists(st.tuples(hostile | st.lists(pieces, max_size=3).map(lambda p: f"<answer>{''.join(p)}</answer>"), st.booleans()), min_size=1, max_size=3),
            hostile,
        ),
        check_asking,
    ),
    "environment": (st.tuples(hostile, hostile, hostile), check_environment),
    "terminal": (hostile, check_terminal),
    "markdown": (hostile, check_markdown),
    "client": (http_replies(), check_client),
}  # fmt: skip
"""Targets by name, with their input and their property."""
