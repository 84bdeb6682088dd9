"""No key and no login comes out: not in an error, not in a reply, not in a log at its most talkative."""

import asyncio
import logging
from urllib.parse import quote

import pytest

from workflow_r1.errors import ServiceError
from workflow_r1.inference import ChatRequest, OpenAIChatConfig, OpenAIChatModel, ScriptedChatModel
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.services.secrets import mask, secrets_of_url, without_login
from workflow_r1.trajectory import Message

KEY, PASSWORD, TOKEN = "sk-secret-0123456789", "p@ss/wörd", "url-token-42"


class Echoing(LoopbackServer):
    """Sends back whatever it was sent, in headers, status line and body."""

    status = 200

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.splitlines() if line.lower().startswith("content-length"))
            await reader.readexactly(int(length.split(":")[1]))
            told = " ".join(line for line in head.splitlines() if "Bearer" in line or "Basic" in line or "POST" in line)
            told = told.replace('"', "'")
            body = (
                f'{{"error": {{"message": "refused: {told}"}}}}'
                if self.status >= 400
                else f'{{"model": "m {told}", "choices": [{{"message": {{"content": "you sent {told}"}}}}]}}'
            ).encode()
            writer.write(
                f"HTTP/1.1 {self.status} {told}\r\nX-Echo: {told}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_no_secret_comes_out(status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    server = Echoing(ScriptedChatModel())
    server.status = status
    seen = []
    with server:
        plain = f"{server.url}?key={TOKEN}"
        with_login = server.url.replace("http://", f"http://user:{quote(PASSWORD, safe='')}@")
        for url in (plain, with_login):
            config = OpenAIChatConfig(model="m", base_url=url, api_key_env="MY_KEY", max_retries=0)

            async def main(config: OpenAIChatConfig = config) -> str:
                async with OpenAIChatModel(config) as chat:
                    return repr(await chat(ChatRequest((Message(role="user", content="q"),))))

            try:
                seen.append(asyncio.run(main()))
            except ServiceError as error:
                seen.append(f"{error} {error.__cause__}")
    records = "\n".join(record.getMessage() for record in caplog.records)
    assert ("you sent" if status == 200 else "refused") in seen[0]
    assert "***" in seen[0] and "***" in seen[1] and "***" in records
    assert "httpcore2.http11" in {record.name for record in caplog.records}
    everything = "\n".join([*seen, records])
    login = secrets_of_url("http://user:" + quote(PASSWORD, safe="") + "@h")
    assert len(login) > 3
    for secret in (KEY, TOKEN, PASSWORD, *login):
        assert secret not in everything


def test_what_of_an_address_is_secret() -> None:
    assert secrets_of_url("http://127.0.0.1:8000/v1") == set()
    assert {"hunter2", "user:hunter2", "dXNlcjpodW50ZXIy"} <= secrets_of_url("http://user:hunter2@h/v1")
    assert "abc" in secrets_of_url("http://h/v1?api-key=abc")
    assert without_login("https://user:hunter2@h:1/v1?key=abc#x") == "https://h:1/v1"
    url = "http://h/v1?api-version=preview&subscription-key=abc&sig=d%2Fe&tier=1"
    assert secrets_of_url(url) == {"preview", "abc", "d/e", "d%2Fe", "1"}
    assert secrets_of_url(url, only_keys=True) == {"abc", "d/e", "d%2Fe"}


@pytest.mark.parametrize("query", ["api-version=preview", "tier=1", "api-version=2024-10-21"])
def test_the_plain_values_of_an_address_stay_in_a_reply(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    said = f"A preview of 1 film on 2024-10-21, by {KEY}"
    with LoopbackServer(ScriptedChatModel([said])) as server:
        config = OpenAIChatConfig(model="m", base_url=f"{server.url}?{query}", api_key_env="MY_KEY", check_model=False)

        async def main() -> str:
            async with OpenAIChatModel(config) as chat:
                return (await chat(ChatRequest((Message(role="user", content="q"),)))).text

        assert asyncio.run(main()) == "A preview of 1 film on 2024-10-21, by ***"


def test_a_secret_within_another_is_masked_whole() -> None:
    assert mask("a key: abc-def", {"abc", "abc-def"}) == "a key: ***"
