"""Hostile in the mirror: what a hostile or broken broker does to client-lib/python. It ends with one sentence and tells the
broker the code; no claim and no flood makes it take memory."""
import asyncio
import logging
import os
import random
import resource
import unittest

import msgpack

import pubsub
from raw import (ACK, AUTH, BYE, CREDIT, ERR, FOR, GAP, HELLO, INFO, MARK, MSG, PING, PONG, PUB, PUBACK, STAT, SUB, SUBACK, UNSUB,
                 WELCOME, frame)

PATIENCE_S = 60
MEMORY_BYTES = 48 << 20  # how much the whole of these tests may add to what the interpreter begins with
MALFORMED, UNKNOWN_OP, LIMIT, STATE = 101, 103, 104, 105
GREETING = frame(WELCOME, 1, {"id": "given", "ka": 60, "max_payload": 1 << 20, "pub_window": 100, "inbox": "$inbox/x"})
TERMS = frame(FOR, 1)
HELLO_MSG = TERMS + frame(MSG, "t", None, msgpack.packb("hello"))


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect(url, **options):
    """This process may stand still for some seconds: it is broker and client."""
    return pubsub.connect(url, **{"connect_timeout": PATIENCE_S, **options})


class Broker:
    """Listens, greets one client, grants what it subscribes to, and then says what it is told to."""

    def __init__(self, greeting=GREETING):
        self.greeting, self.said, self.unpacker = greeting, [], msgpack.Unpacker(strict_map_key=False)

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "tcp://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        self.ended = asyncio.Event()
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.writer.close()

    async def _serve(self, reader, writer):
        self.writer, self.was_reset = writer, False
        try:
            while data := await reader.read(65536):
                self._answer(data)
        except ConnectionResetError:
            self.was_reset = True  # it has not read all that was sent
        self.ended.set()

    def _answer(self, data):
        self.unpacker.feed(data)
        for got in self.unpacker:
            self.said.append(got)
            if got[0] == HELLO:
                self.writer.write(self.greeting)
            elif got[0] == PING:
                self.writer.write(frame(PONG, got[1]))
            elif got[0] == SUB:
                self.writer.write(frame(SUBACK, got[1], 0, {}))

    async def send(self, data):
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            pass  # the client has had enough


class Hostile(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable(logging.WARNING)
        before = resident_bytes()
        cls.addClassCleanup(cls.assert_no_growth, before)

    @staticmethod
    def assert_no_growth(before):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        assert peak - before < MEMORY_BYTES, f"{peak - before} bytes more than at the beginning"

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def assert_breaks(self, data, code=None, unread=False):
        with self.subTest(bytes=data[:40].hex(" "), length=len(data)):
            async with Broker() as broker:
                client = await connect(broker.url)
                subscription = await client.subscribe("t")
                await broker.send(data)
                if unread:
                    await asyncio.wait_for(broker.ended.wait(), PATIENCE_S)
                with self.assertRaises(pubsub.ProtocolError) as broken:
                    async with asyncio.timeout(PATIENCE_S):
                        async for _ in subscription:
                            pass
                self.assertRegex(str(broken.exception), r"^[^\n]{10,200}$")
                await asyncio.wait_for(broker.ended.wait(), PATIENCE_S)
                if not broker.was_reset:
                    self.assertEqual(broker.said[-1][:2], [BYE, broken.exception.code])
                if code is not None:
                    self.assertEqual(broken.exception.code, code)
                with self.assertRaises(pubsub.ProtocolError):
                    await client.publish("t", 1)
                await client.close()

    async def assert_taken(self, data):
        """The client takes it, and the message that comes then."""
        with self.subTest(bytes=data[:40].hex(" "), length=len(data)):
            async with Broker() as broker:
                client = await connect(broker.url)
                subscription = await client.subscribe("t")
                await broker.send(data + HELLO_MSG)
                items = [await subscription.next(PATIENCE_S)]
                while not isinstance(items[-1], pubsub.Message) or items[-1].payload != msgpack.packb("hello"):
                    items.append(await subscription.next(PATIENCE_S))
                await client.close(0)
                return items[:-1]

    async def test_claims_of_huge_lengths(self):
        for claim in "ddffffffff", "dd10000000":
            await self.assert_breaks(bytes.fromhex(claim), LIMIT)
        for claim in "dbffffffff", "db00110000":  # as a topic
            await self.assert_breaks(TERMS + bytes.fromhex("9402" + claim), LIMIT)
        for claim in "ddffffffff", "dfffffffff", "c9ffffffff00":  # as props
            await self.assert_breaks(TERMS + bytes.fromhex("9402a161" + claim), LIMIT)
        await self.assert_breaks(TERMS + bytes.fromhex("9402a161c0c6ffffffff"), LIMIT)  # as a payload

    async def test_what_is_no_frame(self):
        for data in b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xc1", bytes.fromhex("9402c1"), b"\x90", b"\x07", b"\x81\x01\x02", \
                bytes.fromhex("92ff00"), bytes.fromhex("92cc8000"), bytes.fromhex("92c300"), TERMS + bytes.fromhex("9102"):
            await self.assert_breaks(data, MALFORMED)
        await self.assert_breaks(bytes.fromhex("930d") + b"\x91" * 100, LIMIT)
        await self.assert_breaks(bytes.fromhex("dc01010d") + bytes(255), LIMIT)

    async def test_fields_of_the_wrong_kind(self):
        for wrong in (frame(FOR, -1), frame(FOR, 1.0), frame(FOR, True), frame(FOR, 1, 0, 64), frame(GAP, 1, "x", 1), frame(GAP, 1),
                      TERMS + frame(MSG, b"t", None, b""), TERMS + frame(MSG, "t", 7, b""), TERMS + frame(MSG, "t", None, "text"),
                      TERMS + frame(MSG, "a\0b", None, b""), TERMS + bytes.fromhex("9402a1ffc0c400"),
                      TERMS + bytes.fromhex("9402a17482a161 01 a161 02c400".replace(" ", "")), frame(PUBACK, 1), frame(PING, "x"),
                      frame(ERR, 211), frame(SUBACK, 1, 0, "x"), frame(STAT, 1, 2), frame(INFO, 1), frame(BYE)):
            await self.assert_breaks(wrong, MALFORMED)

    async def test_frames_that_are_not_due(self):
        await self.assert_breaks(frame(MSG, "t", None, b""), STATE)  # before any FOR
        for early in (frame(PUBACK, 1, 0, 0, 0), frame(PONG, b"x"), GREETING, frame(HELLO, "mps", 1, {}), frame(SUB, 1, "t", {}),
                      frame(UNSUB, 1), frame(PUB, 1, 2), frame(ACK, 1, 64, 1), frame(CREDIT, 1, 5)):
            await self.assert_breaks(early, STATE)
        for unknown in 0, 16, 17, 32, 63:
            await self.assert_breaks(frame(unknown), UNKNOWN_OP)

    async def test_what_a_later_broker_may_say(self):
        for later in (frame(64, {"a": [1]}), frame(127), frame(INFO, {"new": 1}, "more"), frame(GAP, 77, 1, 1), frame(MARK, 1, 99),
                      frame(AUTH, b"x"), frame(FOR, 1, 0, None, None, None, None, "more"), frame(FOR, 77) + frame(MSG, "t", None, b""),
                      bytes.fromhex("93 16 80 a1 ff".replace(" ", "")), bytes.fromhex("93168081c301"),
                      frame(ERR, 211, "may not", PUB, "$SYS/x"), frame(ERR, 299, "new")):
            self.assertEqual(await self.assert_taken(later), [])
        wide = bytes.fromhex("dc0002cd0004d30000000000000001")
        items = await self.assert_taken(wide + bytes.fromhex("dc0006cc02da000174 81a168c3 c500026869 c0c0".replace(" ", "")))
        self.assertEqual([(item.topic, item.payload, item.headers) for item in items], [("t", b"hi", {"h": True})])

    async def test_every_way_to_cut_what_comes(self):
        data = HELLO_MSG + frame(GAP, 1, 3, 1) + TERMS + frame(MSG, "t", {"h": [1]}, bytes(300)) + HELLO_MSG
        for size in 1, 2, 3, 7:
            async with Broker() as broker:
                client = await connect(broker.url)
                subscription = await client.subscribe("t")
                for at in range(0, len(data), size):
                    await broker.send(data[at:at + size])
                    await asyncio.sleep(0)
                items = [await subscription.next(PATIENCE_S) for _ in range(4)]
                self.assertEqual([getattr(item, "payload", item) for item in items],
                                 [b"\xa5hello", pubsub.Gap(3, 1), bytes(300), b"\xa5hello"])
                await client.close(0)

    async def test_random_bytes_and_broken_frames(self):
        source = random.Random(7)
        valid = [HELLO_MSG, frame(GAP, 1, 318, 1, 64, 10, 14), frame(STAT, 1, 10, 5, 2, 3, 300), frame(ERR, 211, "no", PUB, "t"),
                 frame(PUBACK, 1, 0, 1, 0, 64, 7), frame(FOR, 1, 2, 64, 100, 1700000000000, 3)]
        for _ in range(150):
            data = bytearray(b"".join(source.choices(valid, k=3)))
            for _ in range(source.randint(1, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            async with Broker() as broker:
                client = await connect(broker.url, reconnect=False)
                subscription = await client.subscribe("t")
                await broker.send(bytes(data))
                broker.writer.write_eof()
                with self.assertRaises(pubsub.Closed):  # in order or not, it ends
                    async with asyncio.timeout(PATIENCE_S):
                        async for _ in subscription:
                            pass
                await client.close(0)

    async def test_more_than_was_asked_for(self):
        await self.assert_breaks(TERMS + frame(MSG, "t", None, b"x") * 257, STATE)  # over its credit
        await self.assert_breaks((frame(GAP, 1, 1, 1) + frame(GAP, 1, 1, 2)) * 40000, LIMIT, True)
        gaps = await self.assert_taken(frame(GAP, 1, 2, 1) * 100000)
        self.assertLess(len(gaps), 1000)  # neighbours are one
        self.assertEqual(sum(gap.count for gap in gaps), 200000)

    async def test_a_flood_of_pings_that_nobody_reads_the_answers_of(self):
        async with Broker() as broker:
            client = await connect(broker.url)
            broker.writer.transport.pause_reading()
            flood = frame(PING, bytes(64)) * 1000
            sent = stalled = 0
            while stalled < 20:  # it has stopped reading
                if broker.writer.transport.get_write_buffer_size() < 1 << 20:
                    broker.writer.write(flood)
                    sent, stalled = sent + len(flood), 0
                    self.assertLess(sent, 60 << 20, "the client reads on although nobody takes its answers")
                    await asyncio.sleep(0)
                else:
                    stalled += 1
                    await asyncio.sleep(0.005)
            self.assertLess(client._connection.writer.transport.get_write_buffer_size(), 1 << 20)
            await client.close(0)
            broker.writer.transport.abort()

    async def test_an_idle_client_says_that_it_is_there(self):
        async with Broker(frame(WELCOME, 1, {"id": "given", "ka": 1})) as broker:
            client = await connect(broker.url)
            while sum(got[0] == PING for got in broker.said) < 3:
                await asyncio.sleep(0.01)
            await client.close(0)

    async def test_answers_that_nobody_asked_for(self):
        replies = frame(FOR, 0) + frame(MSG, "$inbox/x/1", None, bytes(1000)) * 5000 + frame(GAP, 0, 3, 1)
        self.assertEqual(await self.assert_taken(replies), [])

    async def test_greetings(self):
        good = {"id": "given"}
        for greeting in (frame(WELCOME, 1), frame(WELCOME, 1, {}), frame(WELCOME, 2, good), frame(WELCOME, "1", good), frame(PING, b""),
                         frame(WELCOME, 1, {**good, "last_pid": 7}), frame(WELCOME, 1, {**good, "max_payload": "x"}),
                         frame(WELCOME, 1, {**good, "inbox": 1}), b"HTTP/1.1 400\r\n\r\n", bytes.fromhex("ddffffffff")):
            with self.subTest(greeting=greeting):
                async with Broker(greeting) as broker:
                    with self.assertRaises(pubsub.ProtocolError):
                        await connect(broker.url)
        for greeting, error in (frame(BYE, 108, "who?"), pubsub.AuthError), (frame(BYE, 115, "full"), pubsub.ConnectFailed), \
                (frame(BYE, 117, "bad id"), pubsub.Closed):
            async with Broker(greeting) as broker:
                with self.assertRaises(error) as refused:
                    await connect(broker.url)
                self.assertGreater(refused.exception.code, 100)
        async with Broker(b"") as broker:
            with self.assertRaisesRegex(pubsub.ConnectFailed, "did not answer within 0.1 s"):
                await connect(broker.url, connect_timeout=0.1)


if __name__ == "__main__":
    unittest.main()
