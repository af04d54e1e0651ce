"""WebSockets by the library `websockets`: a server that echoes, and a client that talks to it through a gateway.

usage: websocket.py serve      prints its port and serves until its standard input ends
       websocket.py talk URI
"""

import asyncio
import sys

import websockets


async def echo(connection: websockets.ServerConnection) -> None:
    async for message in connection:
        if message == "bye":
            await connection.close(code=4001, reason="as you wish")
            return
        else:
            await connection.send(message)


async def serve() -> None:
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def talk(uri: str) -> None:
    async with websockets.connect(uri, max_size=None, proxy=None) as connection:
        for message in ["hello", "ü", b"\x00\xff", "x" * 300_000]:
            await connection.send(message)
            assert await connection.recv() == message, message[:20]
        await (await connection.ping())
        await connection.send("bye")
        try:
            await connection.recv()
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you wish"), closed
        else:
            raise AssertionError("the server's close did not arrive")
    print("talked")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["talk", uri]:
            asyncio.run(talk(uri))
        case _:
            sys.exit(__doc__)
