"""The OpenAI SDK as a client of a gateway that knows models.

usage: models.py BASE_URL KEY SMALL_KEY LIMITED_KEY SPENT_KEY MONTH_KEY TOKENS_KEY

The keys are consumers' who may use all models, only `demo-small`, 30 requests a minute, a cent a day, a cent a month, and
20 tokens a minute.
"""

import asyncio
import sys
import time

import openai

import sdk

# What clients ask for, and what the API is asked for.
NAMES = {"demo-large": "demo-large", "gpt-4": "demo-large", "claude-sonnet-4.5": "demo-small"}
LIMIT = 30


def client_of(base_url: str, key: str, kind=openai.OpenAI):
    return kind(base_url=base_url, api_key=key, **sdk.OPTIONS)


async def tasks(base_url: str, key: str) -> None:
    async with client_of(base_url, key, openai.AsyncOpenAI) as client:
        await sdk.models_of_tasks(client)
        for name, model in NAMES.items():
            await sdk.calls_of_tasks(client, name, model)
        for call, _ in sdk.calls_of("demo-lager"):
            await refused_later(openai.NotFoundError, "model_not_found", call(client))
        chat = lambda body: client.post("/chat/completions", body=body, cast_to=object)
        await refused_later(openai.BadRequestError, "missing_required_parameter", chat({"messages": []}))
        await refused_later(openai.APIStatusError, "request_too_large", chat({"model": "gpt-4", "x": "x" * 20_000}))
        async with client_of(base_url, "wrong", openai.AsyncOpenAI) as wrong:
            await refused_later(openai.AuthenticationError, "invalid_api_key", sdk.calls_of("gpt-4")[0][0](wrong))


async def refused_later(kind, code: str, answer) -> None:
    """The same as `sdk.refused`, of a client that waits meanwhile."""
    try:
        await answer
    except kind as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"no {kind.__name__}")


def catalogue(client, small) -> None:
    assert [model.id for model in client.models.list()] == ["demo-large", "demo-small"]
    assert [model.id for model in small.models.list()] == ["demo-small"]
    assert client.models.retrieve("gpt-4").id == "demo-large"
    sdk.refused(openai.NotFoundError, "model_not_found", lambda: small.models.retrieve("demo-large"))
    sdk.refused(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("no-such-model"))


def errors(client, small, base_url: str) -> None:
    for call, _ in sdk.calls_of("demo-lager"):
        error = sdk.refused(openai.NotFoundError, "model_not_found", lambda: call(client))
        assert error.param == "model" and error.type == "invalid_request_error", error.body
        assert error.body["message"].startswith("The model `demo-lager` does not exist or you do not have access"), error
        assert "Did you mean `demo-large`" in error.body["message"], error
    for call, _ in sdk.calls_of("gpt-4"):
        sdk.refused(openai.NotFoundError, "model_not_found", lambda: call(small))
    chat = lambda body: lambda: client.post("/chat/completions", body=body, cast_to=object)
    sdk.refused(openai.BadRequestError, "missing_required_parameter", chat({"messages": []}))
    sdk.refused(openai.BadRequestError, "invalid_type", chat({"model": 4}))
    for text in [b'{"model": "gpt-4"', b'{"model": "gpt-4"} and more', "{}".encode("utf-16"), b"[" * 10_000, b""]:
        sdk.refused(openai.BadRequestError, "invalid_json",
                    lambda: client.post("/chat/completions", content=text, cast_to=object))
    error = sdk.refused(openai.APIStatusError, "request_too_large", chat({"model": "gpt-4", "x": "x" * 20_000}))
    assert error.status_code == 413, error
    zipped = client.with_options(default_headers={"content-encoding": "gzip"})
    error = sdk.refused(openai.APIStatusError, "unsupported_content_encoding",
                        lambda: sdk.calls_of("gpt-4")[0][0](zipped))
    assert error.status_code == 415, error
    wrong = client_of(base_url, "wrong")
    sdk.refused(openai.AuthenticationError, "invalid_api_key", lambda: sdk.calls_of("gpt-4")[0][0](wrong))


def exhausted(ask) -> openai.RateLimitError:
    """The error that ends a few more requests."""
    for _ in range(6):
        try:
            ask()
        except openai.RateLimitError as error:
            return error
    raise AssertionError("no RateLimitError")


def limited(client) -> None:
    ask = lambda client: client.embeddings.create(model="gpt-4", input=["one two", "three"])
    for left in reversed(range(LIMIT)):
        headers = ask(client.with_raw_response).headers
        assert headers["x-ratelimit-limit-requests"] == str(LIMIT), headers
        # A minute has so many, and each second gives some back.
        assert left <= int(headers["x-ratelimit-remaining-requests"]) <= left + 3, headers
    error = exhausted(lambda: ask(client))
    assert error.code == "rate_limit_exceeded" and error.type == "requests", error.body
    assert 1 <= int(error.response.headers["retry-after"]) <= 2, error.response.headers
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0", error.response.headers
    # The SDK reads how long to wait, and is served by then.
    start = time.monotonic()
    sdk.check_embeddings(ask(client.with_options(max_retries=2)))
    print(f"RateLimitError, and served {time.monotonic() - start:.1f} s later")


def spent(client, days: int) -> None:
    error = exhausted(lambda: client.responses.create(model="demo-large", input="Who are you?"))
    assert error.code == error.type == "insufficient_quota", error.body
    assert int(error.response.headers["retry-after"]) <= days * 86_400, error.response.headers
    print(f"RateLimitError: {error.body['message']}")


def tokens_spent(client) -> None:
    def ask():
        # To its end, for that is where a stream tells what it took.
        list(client.chat.completions.create(model="gpt-4", messages=sdk.MESSAGES, stream=True))

    error = exhausted(ask)
    assert error.code == "rate_limit_exceeded" and error.type == "tokens", error.body
    headers = error.response.headers
    assert headers["x-ratelimit-limit-tokens"] == "20" and headers["x-ratelimit-remaining-tokens"] == "0", headers
    assert 1 <= int(headers["retry-after"]) <= 60, headers
    print(f"RateLimitError: {error.body['message']}")


def main(base_url: str, *keys: str) -> None:
    client, small, limit, spend, month, tokens = (client_of(base_url, key) for key in keys)
    catalogue(client, small)
    for name, model in NAMES.items():
        sdk.calls(client, name, model)
    asyncio.run(tasks(base_url, keys[0]))
    errors(client, small, base_url)
    limited(limit)
    spent(spend, days=1)
    spent(month, days=31)
    tokens_spent(tokens)


if __name__ == "__main__":
    main(*sys.argv[1:])
