"""Partitions between processes: a proxy for each direction of each pair of nodes, which can be held.

A held proxy reads nothing, as if the packets were lost: senders see their buffers fill and their time-outs end. What
was sent arrives after the partition, if both sides still have the connection.
"""

import asyncio
import re
import socket
import threading

# As Linux numbers the states of a connection.
TCP_ESTABLISHED = 1


class Proxy:
    """Passes connections on to an address, unless it is held."""

    def __init__(self, target):
        self.target, self.open, self.port = target, asyncio.Event(), None
        self.open.set()

    async def serve(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        await self.open.wait()
        if not is_established(writer):
            # It was given up meanwhile. In a partition it would never have come to be.
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.copy(reader, back), self.copy(there, writer))

    async def copy(self, reader, writer):
        try:
            while data := await reader.read(1 << 16):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def is_established(writer):
    """Whether the other side has not closed a connection."""
    state = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state[0] == TCP_ESTABLISHED


class Partitions:
    """Puts a proxy before each node for each other node: rewrites the addresses in their network files."""

    def __init__(self, folder, names):
        self.names, self.proxies = names, {}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        addresses = {name: self.listen(folder / name / "network.toml") for name in names}
        for name in names:
            path = folder / name / "network.toml"
            text = path.read_text()
            for other in names:
                if other == name:
                    continue
                host, port = addresses[other].rsplit(":", 1)
                proxy = Proxy((host, int(port)))
                asyncio.run_coroutine_threadsafe(proxy.serve(), self.loop).result()
                self.proxies[name, other] = proxy
                text = text.replace(f'address = "{addresses[other]}"', f'address = "127.0.0.1:{proxy.port}"')
            path.write_text(text)

    @staticmethod
    def listen(path):
        return re.search(r'^listen = "(.*)"$', path.read_text(), re.MULTILINE).group(1)

    def separate(self, *groups):
        """Nothing passes between the groups."""
        group_of = {name: index for index, group in enumerate(groups) for name in group}
        self.set(lambda pair: group_of[pair[0]] == group_of[pair[1]])

    def heal(self):
        self.set(lambda pair: True)

    def set(self, passes):
        def change():
            for pair, proxy in self.proxies.items():
                proxy.open.set() if passes(pair) else proxy.open.clear()

        self.loop.call_soon_threadsafe(change)
