"""The words of real servers, each with its status: whose failure a refusal is."""

import json

import pytest

from workflow_r1.services.failures import FailureKind
from workflow_r1.services.refusals import Refusal, read_refusal

TOO_LONG = [
    # OpenAI
    (400, {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce the length of the messages.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}),
    (400, {"error": {"message": "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576.", "code": "string_above_max_length"}}),
    (429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", "type": "tokens", "code": "rate_limit_exceeded"}}),
    # vLLM
    (400, {"error": {"message": "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens (2000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion.", "type": "BadRequestError", "code": 400}}),
    (400, {"error": {"message": "You passed 2049 input tokens and requested 1 output tokens. However, the model's context length is only 2048 tokens, resulting in a maximum input length of 2047 tokens.", "type": "BadRequestError", "param": "input_tokens", "code": 400}}),
    (400, {"object": "error", "message": "The decoder prompt (length 3000) is longer than the maximum model length of 2048. Make sure that `max_model_len` is no smaller than the number of text tokens.", "type": "BadRequestError", "code": 400}),
    (400, {"error": {"message": "This model's maximum context length is 4096 tokens. However, your prompt contains 99035 characters (more than 81920 characters, which is the upper bound for 4096 input tokens). Please reduce the length of the input prompt. (parameter=input_text, value=99035)", "type": "BadRequestError", "param": "input_text", "code": 400}}),
    # llama.cpp
    (400, {"error": {"code": 400, "message": "request (3000 tokens) exceeds the available context size (2048 tokens), try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 3000, "n_ctx": 2048}}),
    (500, {"error": {"code": 500, "message": "the request exceeds the available context size. try increasing the context size or enable context shift", "type": "server_error"}}),
    # SGLang
    (400, {"object": "error", "message": "The input (3000 tokens) is longer than the model's context length (2048 tokens).", "type": "BadRequest", "code": 400}),
    (400, {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total of 3000 tokens", "code": 400}),
    (400, {"message": "Input length (3000 tokens) exceeds the maximum allowed length (2042 tokens). Use a shorter input or enable --allow-auto-truncate."}),
    # TGI
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens and 100 `max_new_tokens`", "error_type": "validation"}),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 3000", "error_type": "validation"}),
    # Ollama, LM Studio, llama-cpp-python
    (400, {"error": {"message": "the prompt is too long; exceeded max context length by 12 tokens", "type": "invalid_request_error"}}),
    (400, {"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}),
    (400, {"error": {"message": "Requested tokens (3000) exceed context window of 2048", "code": "context_length_exceeded"}}),
    # Anthropic, Gemini, Mistral, xAI, Bedrock, DashScope
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    (400, {"error": {"message": "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"}}),
    (400, [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}]),
    (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "code": "3051"}),
    (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    (400, {"message": "Input is too long for requested model."}),
    (400, {"error": {"code": "invalid_parameter_error", "message": "Range of input length should be [1, 30720]"}}),
    # litellm, with any status that its proxy gives
    (400, {"error": {"message": "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - too much", "type": None, "param": None, "code": "400"}}),
    (500, {"error": {"message": "litellm.ContextWindowExceededError: AnthropicException - prompt is too long", "code": "500"}}),
    # TensorRT-LLM, MLC, Moonshot, Zhipu, Databricks, ExLlama, Cloudflare, and words that no server above has
    (400, {"message": "default_max_tokens (-18) must be greater than 0, prompt length: 8210, max_seq_len: 8192"}),
    (400, {"error": {"message": "The sum of prompt length (40960.0), query length (1) should not exceed max_num_tokens (8192)"}}),
    (400, {"error": {"message": "Request prompt has 5000 tokens in total, larger than the model input length limit 4096."}}),
    (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"}}),
    (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    (400, {"error": {"message": "Prompt 超长"}}),
    (400, {"error_code": "BAD_REQUEST", "message": "prompt token count (9000) cannot exceed 8192"}),
    (400, {"detail": "Prompt length 9000 exceeds the available cache size 8192"}),
    (413, {"error": {"message": "The estimated number of input and maximum output tokens (9000) exceeded this model context window limit (7968)."}}),
    (500, b"Requested tokens (5000) exceed context window of 4096"),
    (400, {"error": {"message": "The total number of tokens (9001) exceeds the limit of this model (8192)"}}),
    # a search API
    (400, {"detail": {"error": "Query is too long. Max query length is 400 characters."}}),
    # OpenRouter: the provider's own words as text within the error
    (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "{\"error\": {\"message\": \"prompt is too long: 9 tokens > 8\"}}", "provider_name": "P"}}}),
    (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "Input is too long", "provider_name": "P"}}}),
    # a web server before it
    (413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
]  # fmt: skip

FILTERED = [
    (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.", "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}}}),
    (400, {"error": {"message": "Your request was rejected as a result of our safety system.", "code": "content_policy_violation"}}),
    (400, {"error": {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.", "code": "invalid_prompt"}}),
    (403, {"error": {"code": 403, "message": "openai/gpt-4o requires moderation on OpenRouter. Your input was flagged for \"violence\".", "metadata": {"reasons": ["violence"], "flagged_input": "..."}}}),
    (403, {"code": "The caller does not have permission", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}),
    (400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}}),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}}),
    (400, {"error": {"message": "The request was rejected because it was considered high risk", "type": "content_filter"}}),
    (400, {"error": {"message": "litellm.ContentPolicyViolationError: AzureException - filtered", "code": "400"}}),
    (400, {"error": {"message": "Violated guardrail policy"}}),
    (400, {"error": {"message": "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices."}}),
    (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}),
    (422, {"detail": "prompt flagged by moderation"}),
]  # fmt: skip

OTHERS = [
    # The service's state, the account, the configuration: not what was asked.
    (400, {"error": {"message": "max_tokens=100000 cannot be greater than max_model_len=1024. Please request fewer output tokens. (parameter=max_tokens, value=100000)", "type": "BadRequestError", "param": "max_tokens", "code": 400}}, FailureKind.REJECTED),
    (400, {"error": {"message": "max_tokens is too large: 5000. This model supports at most 4096 completion tokens", "param": "max_tokens", "code": "invalid_value"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "Unknown parameter: 'safety_identifier'.", "param": "safety_identifier", "code": "unknown_parameter"}}, FailureKind.REJECTED),
    (401, {"error": {"message": "Your account was flagged"}}, FailureKind.BAD_KEY),
    (403, {"error": {"message": "Your organization's policy does not allow this project"}}, FailureKind.BAD_KEY),
    (404, {"error": {"message": "The model `m` does not exist"}}, FailureKind.UNKNOWN_MODEL),
    (429, {"error": {"message": "Rate limit reached: Limit 30000, Used 29000, Requested 2000"}}, FailureKind.THROTTLED),
    (429, {"error": {"code": "insufficient_quota"}}, FailureKind.NO_QUOTA),
    (500, {"error": {"message": "failed to create a context of size 4096: out of memory"}}, FailureKind.SERVER_ERROR),
    (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, FailureKind.SERVER_ERROR),
    (400, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}, FailureKind.REJECTED),
    # What FastAPI repeats of the request is the question's words, not the server's.
    (422, {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {"messages": [{"content": "Is a content filter a prompt longer than the maximum context length?"}]}}]}, FailureKind.REJECTED),
    (400, {"error": {"message": "The requested number of completion tokens exceeds 4096"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "max_tokens exceeds the limit of 4096"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "This request exceeds your quota"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "The request took longer than 30 seconds"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "Number of requests exceeds the rate limit"}}, FailureKind.REJECTED),
    (400, {"error": {"message": "Provider returned error", "metadata": {"raw": None}}}, FailureKind.REJECTED),
    (400, b"", FailureKind.REJECTED),
    (400, b"[" * 100_000, FailureKind.REJECTED),
    (400, 5, FailureKind.REJECTED),
    (400, {"error": {"code": {"a": 1}, "message": None}}, FailureKind.REJECTED),
]  # fmt: skip


def judge(status: int, body: object, **settings: int) -> Refusal:
    return read_refusal(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **settings)


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
def test_too_long_in_the_words_of_many_servers(status: int, body: object) -> None:
    assert judge(status, body, max_tokens=1024).kind is FailureKind.TOO_LONG


@pytest.mark.parametrize(("status", "body"), FILTERED)
def test_filtered_in_the_words_of_many_servers(status: int, body: object) -> None:
    assert judge(status, body).kind is FailureKind.CONTENT_FILTER


@pytest.mark.parametrize(("status", "body", "kind"), OTHERS)
def test_what_the_content_did_not_cause(status: int, body: object, kind: FailureKind) -> None:
    assert judge(status, body, max_tokens=1024).kind is kind


def test_a_configuration_that_fits_no_content_is_not_the_contents_fault() -> None:
    body = {"error": {"message": "'max_tokens' is too large: 4096. This model's maximum context length is 2048 tokens"}}
    assert judge(400, body, max_tokens=1024).kind is FailureKind.TOO_LONG
    assert judge(400, body, max_tokens=2048).kind is FailureKind.REJECTED


@pytest.mark.parametrize(
    ("error", "parameter"),
    [
        ({"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"}, "max_tokens"),
        ({"message": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.", "param": "temperature", "code": "unsupported_value"}, "temperature"),
        ({"message": "litellm.UnsupportedParamsError: openai does not support parameters: ['temperature'], for model=o1"}, "temperature"),
        ({"message": "gpt-5 models don't support temperature=0.0. Only temperature=1 is supported."}, "temperature"),
        ({"message": "`temperature` is deprecated for this model."}, "temperature"),
        ({"message": "Unsupported parameter: 'stop' is not supported with this model.", "param": "stop"}, "stop"),
        ({"message": "temperature must be between 0 and 1"}, ""),
        ({"message": "max_tokens must be at least 1"}, ""),
        ({"message": "Unsupported role: the model is asked to stop"}, ""),
    ],
)  # fmt: skip
def test_which_field_a_server_does_not_take(error: dict[str, str], parameter: str) -> None:
    assert judge(400, {"error": error}).parameter == parameter


def test_the_services_own_words_are_kept() -> None:
    assert judge(400, {"error": {"message": "no"}}).message == "no"
    assert judge(400, {"detail": "no"}).message == "no"
    assert judge(400, {"error": "no", "error_type": "validation"}).message == "no"
    assert judge(502, b"Bad gateway").message == "Bad gateway"
    assert judge(400, {"detail": [{"msg": "Field required"}]}).message == '[{"msg": "Field required"}]'
