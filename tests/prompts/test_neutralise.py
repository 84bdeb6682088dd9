import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workflow_r1.prompts import neutralise, parse_turn

OUR_TAGS = [f"<{slash}{name}>" for name in ("think", "tool", "answer", "info") for slash in ("", "/")]
ARGUMENT_TAGS = [
    f"<{s}{n}>" for n in ("question", "solution", "feedback", "task", "instruction", "query") for s in ("", "/")
]
TEMPLATE_TOKENS = [
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>", "<unused42>", "<|channel|>", "<turn|>"),
    *(
        "<｜begin▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜end▁of▁sentence｜>",
        "<tool_call>",
        "</tool_response>",
    ),
    *("[gMASK]", "<sop>", "<extra_id_0>", "<fim_middle>", "<file_sep>", "<jupyter_start>", "<reponame>"),
    *("<beginning_of_sentence>", "<role>", "</role>", "<fim-prefix>", "<pr>", "<pr_diff_hunk>", "<arg_key>", "<eom>"),
]


def disguises(tag):
    """The forms in which a tag may come."""
    yield tag
    yield tag.upper()
    yield tag.title()
    yield f"{tag[0]} {tag[1:-1]}\n{tag[-1]}" if tag[0] == "<" and not set(tag[1:]) & set("<|｜") else tag
    yield "\u200b".join(tag)
    yield "\0".join(tag)
    yield "\ufeff" + tag[:2] + "\u00ad" + tag[2:]
    if tag[0] == "<":
        yield tag.translate({ord("<"): "＜", ord(">"): "＞"})
        yield tag.translate({c: c + 0xFEE0 for c in range(ord("!"), ord("~") + 1)})
        yield tag.replace("<", "﹤").replace(">", "﹥")


def brackets_of(text):
    return sum(text.count(bracket) for bracket in "<>＜＞﹤﹥[]｜|［］")


@pytest.mark.parametrize("tag", [*OUR_TAGS, *ARGUMENT_TAGS, *TEMPLATE_TOKENS])
def test_control_loses_its_brackets_in_every_disguise(tag):
    for form in disguises(tag):
        safe = neutralise(f"before {form} after")
        assert brackets_of(safe[: len("before ") + 1]) == 0, form
        assert tag not in safe
        assert len(safe) == len(f"before {form} after")
        assert safe.startswith("before ")
        assert safe.endswith(" after")


def test_literal_values():
    assert neutralise("<think>") == "‹think›"
    assert neutralise("</ANSWER>") == "‹/ANSWER›"
    assert neutralise("<|im_end|>") == "‹¦im_end¦›"
    assert neutralise("<｜User｜>") == "‹¦User¦›"
    assert neutralise("[INST] <<SYS>>") == "⟦INST⟧ ‹‹SYS››"
    assert neutralise("a\ud800b") == "a\ufffdb"
    # Words that stand in brackets in ordinary text, too, count in capitals alone.
    assert neutralise("<NAME> <EMAIL> <name> <Email>") == "‹NAME› ‹EMAIL› <name> <Email>"


@pytest.mark.parametrize(
    "text",
    ["", "a < b and c > d", "if x<y: z>1", "<i>Jaws</i> (1975)", "arr[0] | [citation needed]", "שלום <b>עולם</b>", "naïve ﬁne ½ 日本",
     "<thinking> <toolbox> <answers>", "\0\x07\x1b[0m", "5 <= 6 || 7 >= 6", "[1] Title: text"],
)  # fmt: skip
def test_ordinary_text_stays(text):
    assert neutralise(text) == text


@pytest.mark.parametrize("tag", [*OUR_TAGS, "<|im_end|>", "<s>", "[INST]", "<start_of_turn>"])
def test_a_tag_inside_a_tag_does_not_close_up(tag):
    for cut in range(1, len(tag)):
        nested = tag
        for _ in range(3):
            nested = tag[:cut] + nested + tag[cut:]
        safe = neutralise(nested)
        assert tag not in safe
        for look_alike in ("‹", "›", "¦", "⟦", "⟧"):
            assert tag not in safe.replace(look_alike, "")
        # Without the replaced tags nothing re-forms either, once a second reader has made it safe.
        assert neutralise(safe) == safe


def test_special_tokens_of_the_tokenizer_are_broken_up():
    tokens = ["<custom>", "[CTRL]", "EOS", "▁END▁", "<|x|>", "", " ", "\ufffd"]
    safe = neutralise("a <custom> b [CTRL] c EOS d ▁END▁ e <CUSTOM> f", tokens)
    assert safe == "a ‹custom› b ⟦CTRL⟧ c \ufffdOS d \ufffdEND▁ e ‹CUSTOM› f"
    assert neutralise("a <custom> b EOS") == "a <custom> b EOS"


def test_overlapping_special_tokens_are_all_broken_up():
    assert neutralise("EOSXY<", ["EOSX", "XY<"]) == "\ufffdOSXY‹"
    safe = neutralise("ABABAB", ["AB", "BA"])
    assert "AB" not in safe
    assert "BA" not in safe


PIECES = [
    *OUR_TAGS,
    "<solution>",
    "<|",
    "|>",
    "<",
    ">",
    "/",
    "|",
    "｜",
    "[",
    "]",
    "INST",
    "th",
    "ink",
    "think",
    "s",
    " ",
    "\u200b",
    "\0",
    "＜",
    "＞",
    "\ud800",
    "EOS",
    "EO",
    "S",
    "é",
    "SYS",
    "<<",
    ">>",
]
TOKENS = ("<|im_end|>", "EOS", "<x>", "SEO")


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(st.characters(exclude_categories=())))
@example("<th<think>ink>")
@example("<\u200b<think>\u200bthink>")
@example("<<s>s>")
@example("<<<SYS>>SYS>>")
@example("<|<|im_end|>im_end|>")
def test_nothing_gets_through(text):
    safe = neutralise(text, TOKENS)
    assert neutralise(safe, TOKENS) == safe
    assert len(safe) == len(text)
    safe.encode("utf-8")
    visible = safe.replace("\u200b", "").replace("\0", "").replace("＜", "<").replace("＞", ">").replace("｜", "|")
    for control in (*OUR_TAGS, "<solution>", "<|", "|>", "[INST]", "<s>", "<<SYS>>", *TOKENS):
        assert control not in visible
    # Inside a turn it can neither open, close nor be an action.
    turn = parse_turn(f"<think>{safe}</think><tool>Search: {safe}.</tool>")
    assert len(turn.calls) == 1
    assert turn.answer is None
    assert not turn.malformed


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "< ",
        "<   /",
        "<think",
        "<think>",
        "<|",
        "|>",
        "[",
        "[INST",
        "<start_of_a",
        "<unused1",
        "é<s>",
        "\0<",
        "\u200b",
        "<<",
        "EOS",
        "E",
    ],
)
def test_time_is_linear(piece):
    text = piece * (300_000 // len(piece))
    started = time.process_time()
    neutralise(text, ("EOS", "SE", "<custom>"))
    neutralise("<" + " " * 300_000)
    neutralise("<start_of_" + "a" * 300_000)
    assert time.process_time() - started < 5


def test_many_special_tokens_cost_nothing_extra():
    tokens = tuple(f"<unused{i}>" for i in range(6000))
    neutralise("", tokens)
    started = time.process_time()
    for _ in range(50):
        neutralise("An observation of two thousand characters. " * 50, tokens)
    assert time.process_time() - started < 2
