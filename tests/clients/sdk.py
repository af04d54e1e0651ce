"""The OpenAI SDK as a client of a gateway: only the base URL and the key are its own.

usage: sdk.py BASE_URL KEY
"""

import sys

import openai


def main(base_url: str, key: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)

    models = [model.id for model in client.models.list()]
    assert "demo-large" in models, models
    print("models:", *models)

    messages = [{"role": "user", "content": "Who are you?"}]
    chat = client.chat.completions.create(model="any-model", messages=messages)
    assert chat.model == "any-model", chat
    assert chat.choices[0].message.content.startswith("Hello from "), chat
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens > 0, chat
    print("chat:", chat.choices[0].message.content)

    stream = client.chat.completions.create(
        model="any-model", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    words = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(words) > 3, chunks
    assert "".join(words).startswith("Hello from "), words
    assert chunks[-1].usage.completion_tokens == len(words), chunks[-1]
    print("stream:", len(chunks), "chunks:", "".join(words))

    try:
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0, timeout=20).models.list()
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and error.code == "invalid_api_key", error
        assert error.body["message"] == "Incorrect API key provided.", error.body
        print("wrong key:", error.body["message"])
    else:
        raise AssertionError("a wrong key was accepted")

    try:
        client.get("/no-such-path", cast_to=object)
    except openai.NotFoundError as error:
        assert error.code == "unknown_url", error
        print("unknown path:", error.body["message"])
    else:
        raise AssertionError("an unknown path was found")


if __name__ == "__main__":
    main(*sys.argv[1:])
