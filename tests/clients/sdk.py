"""The OpenAI SDK as a client of a gateway: only the base URL and the key are its own.

usage: sdk.py BASE_URL KEY FAULTS_URL…

FAULTS_URL is where an upstream of the demo takes its faults, for the errors that no request of a client brings about.
"""

import asyncio
import json
import sys
import urllib.request

import openai

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
OPTIONS = {"max_retries": 0, "timeout": 20}


def check_usage(usage) -> None:
    """A chat's or a completion's."""
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage


def check_chat(chat) -> None:
    assert chat.choices[0].message.content.startswith("Hello from "), chat
    assert chat.usage.prompt_tokens_details.cached_tokens == 2, chat
    check_usage(chat.usage)
    print("chat:", chat.choices[0].message.content)


def check_chat_stream(chunks) -> None:
    words = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(words) > 3, chunks
    assert "".join(words).startswith("Hello from "), words
    assert chunks[-1].usage.completion_tokens == len(words), chunks[-1]
    check_usage(chunks[-1].usage)
    assert all(chunk.usage is None for chunk in chunks[:-1]), chunks
    print("chat stream:", len(chunks), "chunks:", "".join(words))


def check_plain_chat_stream(chunks) -> None:
    # Nobody asked for usage: no chunk has it, and none is without a choice.
    assert all(chunk.usage is None and chunk.choices for chunk in chunks), chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("Hello from "), chunks


def check_completion(completion) -> None:
    assert completion.choices[0].text.startswith("Hello from "), completion
    check_usage(completion.usage)


def check_completion_stream(chunks) -> None:
    assert all(chunk.usage is None and chunk.choices for chunk in chunks), chunks
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith("Hello from "), chunks


def check_response(response) -> None:
    assert response.output_text.startswith("Hello from "), response
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0, response
    assert usage.input_tokens_details.cached_tokens == 2, response


def check_response_stream(events) -> None:
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    words = [event.delta for event in events if event.type == "response.output_text.delta"]
    check_response(events[-1].response)
    assert "".join(words) == events[-1].response.output_text, words


def check_embeddings(answer) -> None:
    assert [entry.index for entry in answer.data] == [0, 1], answer
    assert len(answer.data[0].embedding) == 8, answer
    assert answer.data[0].embedding != answer.data[1].embedding, answer
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3, answer


def calls_of(model):
    """What is called, and what checks the answer: for the client of threads and that of tasks alike."""
    return [
        (lambda client: client.chat.completions.create(model=model, messages=MESSAGES), check_chat),
        (lambda client: client.chat.completions.create(model=model, messages=MESSAGES, stream=True,
                                                       stream_options={"include_usage": True}), check_chat_stream),
        (lambda client: client.chat.completions.create(model=model, messages=MESSAGES, stream=True),
         check_plain_chat_stream),
        (lambda client: client.completions.create(model=model, prompt="Once upon a time"), check_completion),
        (lambda client: client.completions.create(model=model, prompt="Once upon a time", stream=True),
         check_completion_stream),
        (lambda client: client.responses.create(model=model, instructions="Be brief.", input="Who are you?"),
         check_response),
        (lambda client: client.responses.create(model=model, instructions="Be brief.", input=MESSAGES[1:],
                                                stream=True), check_response_stream),
        (lambda client: client.embeddings.create(model=model, input=["one two", "three"]), check_embeddings),
    ]


def check_model(answer, model) -> None:
    """The upstream repeats the model that it was asked for."""
    for part in answer if isinstance(answer, list) else [answer]:
        named = getattr(part, "response", part)
        assert getattr(named, "model", model) == model, part


def calls(client, model, served) -> None:
    for call, check in calls_of(model):
        answer = call(client)
        answer = list(answer) if isinstance(answer, openai.Stream) else answer
        check_model(answer, served)
        check(answer)


async def calls_of_tasks(client, model, served) -> None:
    async def one(call, check) -> None:
        answer = await call(client)
        answer = [part async for part in answer] if isinstance(answer, openai.AsyncStream) else answer
        check_model(answer, served)
        check(answer)

    # All at once, over as many connections as the SDK likes.
    await asyncio.gather(*(one(call, check) for call, check in calls_of(model)))


def models(client) -> None:
    ids = [model.id for model in client.models.list()]
    assert "demo-large" in ids, ids
    assert client.models.retrieve("demo-large").id == "demo-large"
    print("models:", *ids)


async def models_of_tasks(client) -> None:
    ids = [model.id async for model in client.models.list()]
    assert "demo-large" in ids, ids
    assert (await client.models.retrieve("demo-large")).id == "demo-large"


def refused(kind, code, call) -> openai.APIStatusError:
    """The error that `call` must end in."""
    try:
        call()
    except kind as error:
        assert error.code == code, (error, error.code)
        print(f"{kind.__name__}: {error.body['message']}")
        return error
    raise AssertionError(f"no {kind.__name__}")


def errors(client, base_url: str) -> None:
    wrong = openai.OpenAI(base_url=base_url, api_key="wrong", **OPTIONS)
    error = refused(openai.AuthenticationError, "invalid_api_key", wrong.models.list)
    assert error.body["message"] == "Incorrect API key provided.", error.body
    refused(openai.NotFoundError, "unknown_url", lambda: client.get("/no-such-path", cast_to=object))
    refused(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("no-such-model"))
    refused(openai.BadRequestError, "invalid_body",
            lambda: client.post("/embeddings", body={"model": 1}, cast_to=object))


def set_faults(urls: list[str], faults: dict) -> None:
    for url in urls:
        request = urllib.request.Request(url, json.dumps(faults).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200, answer.status


def errors_of_upstreams(client, urls: list[str]) -> None:
    chat = lambda: client.chat.completions.create(model="any-model", messages=MESSAGES)
    for status, kind in [(403, openai.PermissionDeniedError), (409, openai.ConflictError),
                         (422, openai.UnprocessableEntityError), (429, openai.RateLimitError),
                         (500, openai.InternalServerError)]:
        set_faults(urls, {"fail_share": 1.0, "fail_status": status})
        refused(kind, "demo_fault", chat)
    # One failure: the SDK's own retry is served.
    set_faults(urls, {"fail_share": 0.5, "fail_status": 409})
    check_chat(client.with_options(max_retries=3).chat.completions.create(model="any-model", messages=MESSAGES))
    set_faults(urls, {"delay_ms": 2_000})
    try:
        client.with_options(timeout=0.2).chat.completions.create(model="any-model", messages=MESSAGES)
    except openai.APITimeoutError:
        print("APITimeoutError")
    else:
        raise AssertionError("no APITimeoutError")
    set_faults(urls, {})


def main(base_url: str, key: str, *faults: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, **OPTIONS)
    models(client)
    calls(client, "any-model", "any-model")

    async def tasks() -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=key, **OPTIONS) as client:
            await models_of_tasks(client)
            await calls_of_tasks(client, "any-model", "any-model")

    asyncio.run(tasks())
    errors(client, base_url)
    errors_of_upstreams(client, list(faults))


if __name__ == "__main__":
    main(*sys.argv[1:])
