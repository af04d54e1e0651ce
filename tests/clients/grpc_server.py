"""A gRPC server of bytes: prints its port, and serves until its standard input ends.

Methods of test.Echo:
  Unary    the message in capitals, between the metadata of the request (x-hello) and some of its own
  Fail     ends with the status and words that the message says, as "13 why"
  Slow     answers after so many milliseconds as the message says
  Bidi     each message in capitals as it comes
  Collect  all messages joined
  Count    so many messages as the message says
  Broken   two messages, then a failure
"""

import concurrent.futures
import sys
import threading

import grpc


def unary(message: bytes, context: grpc.ServicerContext) -> bytes:
    hello = dict(context.invocation_metadata()).get("x-hello", "nobody")
    context.send_initial_metadata([("x-initial", hello)])
    context.set_trailing_metadata([("x-trailing", f"to {hello}")])
    return message.upper()


def fail(message: bytes, context: grpc.ServicerContext) -> bytes:
    code, _, why = message.decode().partition(" ")
    codes = {status.value[0]: status for status in grpc.StatusCode}
    context.abort(codes[int(code)], why)


def slow(message: bytes, context: grpc.ServicerContext) -> bytes:
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(int(message) / 1000)
    return b"slow"


def bidi(messages, context: grpc.ServicerContext):
    context.send_initial_metadata([("x-initial", "bidi")])
    for message in messages:
        yield message.upper()
    context.set_trailing_metadata([("x-trailing", "over")])


def collect(messages, _context: grpc.ServicerContext) -> bytes:
    return b"+".join(messages)


def count(message: bytes, _context: grpc.ServicerContext):
    for number in range(int(message)):
        yield str(number).encode()


def broken(_message: bytes, context: grpc.ServicerContext):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "broken: 100 % of it")


def main() -> None:
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Broken": grpc.unary_stream_rpc_method_handler(broken),
    }
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=16)
    unlimited = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(pool, options=unlimited)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


if __name__ == "__main__":
    main()
