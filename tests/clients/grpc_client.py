"""A gRPC client of a gateway in front of grpc_server.py: tells what it got, a line each.

usage: grpc_client.py ADDRESS
"""

import queue
import sys

import grpc

LIMIT = 20


def failure(what: str, error: grpc.RpcError) -> None:
    print(f"{what}: {error.code().name} {error.details()!r}")


def main(address: str) -> None:
    unlimited = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(address, options=unlimited)
    grpc.channel_ready_future(channel).result(timeout=LIMIT)
    unary = channel.unary_unary("/test.Echo/Unary")

    answer, call = unary.with_call(b"hello", metadata=[("x-hello", "world")], timeout=LIMIT)
    initial = dict(call.initial_metadata())["x-initial"]
    trailing = dict(call.trailing_metadata())["x-trailing"]
    print(f"unary: {answer!r} after {initial!r}, before {trailing!r}, {call.code().name}")

    large = b"x" * 3_000_000
    assert unary(large, timeout=LIMIT) == large.upper()
    print("large: all of it")

    counted = list(channel.unary_stream("/test.Echo/Count")(b"1000", timeout=LIMIT))
    print(f"count: {len(counted)}, the last {counted[-1]!r}")

    collected = channel.stream_unary("/test.Echo/Collect")(iter([b"a", b"b", b"c"]), timeout=LIMIT)
    print(f"collect: {collected!r}")

    # Each message is sent when the answer to the one before has come: nothing is held back on the way.
    messages: queue.SimpleQueue = queue.SimpleQueue()
    answers = channel.stream_stream("/test.Echo/Bidi")(iter(messages.get, None), timeout=LIMIT)
    for word in [b"one", b"two", b"three"]:
        messages.put(word)
        print(f"bidi: {next(answers)!r}")
    messages.put(None)
    assert list(answers) == []
    print(f"bidi: {answers.code().name}, {dict(answers.trailing_metadata())['x-trailing']!r}")

    broken = channel.unary_stream("/test.Echo/Broken")(b"", timeout=LIMIT)
    try:
        for answer in broken:
            print(f"broken: {answer!r}")
    except grpc.RpcError as error:
        failure("broken", error)

    for method, message in [("Fail", b"9 not now"), ("Fail", b"16 who?"), ("Missing", b"")]:
        try:
            channel.unary_unary(f"/test.Echo/{method}")(message, timeout=LIMIT)
        except grpc.RpcError as error:
            failure(f"{method.lower()} {message.decode()}", error)

    try:
        channel.unary_unary("/test.Echo/Slow")(b"20000", timeout=0.3)
    except grpc.RpcError as error:
        print(f"slow: {error.code().name}")

    # One that the client cancels: the next is served all the same.
    cancelled = channel.unary_unary("/test.Echo/Slow").future(b"20000", timeout=LIMIT)
    cancelled.cancel()
    assert unary(b"again", timeout=LIMIT) == b"AGAIN"
    print("cancelled: the next is served")

    # The gateway's own answers.
    for service in ["nowhere.Service", "refused.Service", "forbidden.Service"]:
        try:
            channel.unary_unary(f"/{service}/Any")(b"", timeout=LIMIT)
        except grpc.RpcError as error:
            failure(service, error)


if __name__ == "__main__":
    main(*sys.argv[1:])
