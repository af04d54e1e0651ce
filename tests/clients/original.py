"""A client as teams write them by hand: health of each environment, models, a key in the wrong header, chat.

It uses the standard library only, sends some things the wrong way, as such clients do, and counts on the gateway.

usage: original.py BASE_URL KEY ENVIRONMENT…
"""

import json
import sys
import time
import urllib.error
import urllib.request

ATTEMPTS = 4
TIMEOUT = 5.0


def call(method: str, url: str, headers: dict, body: object = None) -> tuple[int, dict, bytes]:
    """Makes one request; an error status is an answer, too."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def health(base_url: str, key: str, environment: str) -> None:
    """Asks each environment by name, and measures how long it takes."""
    start = time.monotonic()
    headers = {"X-Deployment-Mode": environment, "Authorization": f"Bearer {key}"}
    status, answer, body = call("GET", f"{base_url}/health", headers)
    took = (time.monotonic() - start) * 1000
    assert status == 200, (environment, status, body)
    assert answer["x-deployment-mode"] == environment, answer
    assert json.loads(body)["name"] == environment, body
    print(f"health: {environment} {answer['x-deployment-version']} in {took:.0f} ms")


def models(base_url: str, headers: dict) -> None:
    """Lists the models with this header, right or wrong."""
    status, _, body = call("GET", f"{base_url}/v1/models", headers)
    assert status == 200, (list(headers), status, body)
    print("models by", *headers, ":", *[model["id"] for model in json.loads(body)["data"]])


def chat(base_url: str, key: str) -> None:
    """Chats; a 429, a 5xx or a timeout is tried again after a while."""
    body = {"model": "some-model", "messages": [{"role": "user", "content": "Hello!"}]}
    for attempt in range(ATTEMPTS):
        try:
            status, answer, text = call(
                "POST", f"{base_url}/v1/chat/completions", {"Authorization": f"Bearer {key}"}, body
            )
        except (TimeoutError, urllib.error.URLError) as error:
            status, text = 0, str(error)
        if status == 200:
            said = json.loads(text)["choices"][0]["message"]["content"]
            print(f"chat: {said} ({answer['x-deployment-mode']}, attempt {attempt + 1})")
            return
        assert status in (0, 429) or status >= 500, (status, text)
        time.sleep(0.1 * 2**attempt)
    raise AssertionError(f"no answer in {ATTEMPTS} attempts")


def refused(base_url: str, headers: dict, expected: str) -> None:
    """A wrong key, or none, is a 401 that says why."""
    status, answer, body = call("GET", f"{base_url}/v1/models", headers)
    assert status == 401, (status, body)
    assert "www-authenticate" in {name.lower() for name in answer}, answer
    error = json.loads(body)["error"]
    assert error["code"] == "invalid_api_key" and expected in error["message"], error
    print("refused:", error["message"])


def main(base_url: str, key: str, *environments: str) -> None:
    for environment in environments:
        health(base_url, key, environment)
    models(base_url, {"Authorization": f"Bearer {key}"})
    models(base_url, {"api-key": key})
    models(base_url, {"X-API-Key": key})
    refused(base_url, {"api-key": "wrong"}, "Incorrect API key provided.")
    refused(base_url, {}, "You didn't provide an API key.")
    for _ in range(5):
        chat(base_url, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
