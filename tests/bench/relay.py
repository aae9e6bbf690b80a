#!/usr/bin/env python3
"""A slow link: relays TCP with a round-trip time and one bottleneck for each direction.

    relay.py LISTEN-PORT TARGET-PORT RTT-MS MBIT      (both ports on 127.0.0.1; LISTEN-PORT 0 takes a free one)

All connections share the bottleneck, as on an access line: bytes leave it at MBIT and arrive half a round trip later. A new
connection waits one round trip for its handshake. Loss and slow start are not modelled. Prints the port it listens on; ends
on SIGTERM, and then prints "CONNECTIONS UP-BYTES DOWN-BYTES".
"""
import asyncio
import signal
import sys

PIECE = 16384
IN_FLIGHT = 64  # pieces of one connection and direction


class Line:
    """One direction of the link. Hands out the time at which bytes that enter now will have left the bottleneck."""

    def __init__(self, loop, mbit):
        self.loop, self.rate, self.free, self.total = loop, mbit * 125000.0, 0.0, 0

    def leave(self, size):
        self.total += size
        self.free = max(self.free, self.loop.time()) + (size / self.rate if self.rate else 0)
        return self.free


async def carry(reader, writer, line, delay):
    loop = line.loop
    pieces = asyncio.Queue(IN_FLIGHT)

    async def deliver():
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not piece:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    delivery = loop.create_task(deliver())
    try:
        while True:
            piece = await reader.read(PIECE)
            await pieces.put((line.leave(len(piece)) + delay, piece))
            if not piece:
                break
        await delivery
    except (ConnectionError, asyncio.CancelledError):
        pass  # one side is gone, or the relay ends
    finally:
        delivery.cancel()


async def main():
    listen, target, rtt, mbit = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000, float(sys.argv[4])
    loop = asyncio.get_running_loop()
    up, down = Line(loop, mbit), Line(loop, mbit)
    connections = 0

    async def serve(client_reader, client_writer):
        nonlocal connections
        connections += 1
        await asyncio.sleep(rtt)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(carry(client_reader, writer, up, rtt / 2), carry(reader, client_writer, down, rtt / 2))
            writer.close()
        except (OSError, asyncio.CancelledError):
            pass
        client_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()
    print(connections, up.total, down.total, flush=True)


asyncio.run(main())
