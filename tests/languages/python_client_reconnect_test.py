"""client-lib/python while its connections break and its broker dies: nothing that was acknowledged is lost, nothing comes
twice that must not, and every loss is told with its count."""
import asyncio
import unittest

import brokers
import pubsub
from pubsub import Ack, Gap, Message

PATIENCE_S = 120
AT_ONCE = {"reconnect_min": 0.001, "reconnect_max": 0.05, "connect_timeout": PATIENCE_S}


class Cut:
    """Stands between client and broker. Lets `budget` bytes of the broker through, then holds the rest; cut() throws
    away what it holds, as a cable that breaks does."""

    def __init__(self, path):
        self.path, self.budget, self.links = path, None, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "tcp://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    async def _serve(self, reader, writer):
        broker_reader, broker_writer = await asyncio.open_unix_connection(self.path.removeprefix("unix:"))
        link = [writer, broker_writer]
        self.links.append(link)
        await asyncio.gather(self._pump(reader, broker_writer, False), self._pump(broker_reader, writer, True))

    async def _pump(self, reader, writer, metered):
        try:
            while data := await reader.read(65536):
                if metered and self.budget is not None:
                    data, self.budget = data[:self.budget], max(0, self.budget - len(data))
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self):
        links, self.links = self.links, []
        for link in links:
            for writer in link:
                writer.transport.abort()
        self.budget = None


class Reconnect(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which tells of every pause of a busy machine

    def setUp(self):
        self.broker = brokers.Broker(arguments=("--durable", "kept/#"))
        self.addCleanup(self.broker.stop)

    async def client(self, url=None, **options):
        client = await pubsub.connect(url or self.broker.unix, **{**AT_ONCE, **options})
        self.addAsyncCleanup(client.close)
        return client

    async def all(self, subscription, last):
        """Items up to the message with the value `last`."""
        items = []
        while not items or not isinstance(items[-1], Message) or items[-1].value != last:
            items.append(await subscription.next(PATIENCE_S))
        return items

    async def test_a_broker_that_is_killed_again_and_again(self):
        publisher = await self.client(client_id="publisher", session_s=600)
        reader = await self.client(client_id="reader", session_s=600)
        subscription = await reader.subscribe("kept/#", from_="all", window=50)
        received = asyncio.create_task(self.all(subscription, 2999))
        acked = []

        async def publish():
            answers = []
            for number in range(3000):
                answers.append(await publisher.submit("kept/a", number, ack=Ack.STORED))
            return await asyncio.gather(*answers)
        publishing = asyncio.create_task(publish())
        for _ in range(3):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(self.broker.kill)
            await asyncio.to_thread(self.broker.start)
        async with asyncio.timeout(PATIENCE_S):
            acked = await publishing
            items = await received
        self.assertEqual([item.value for item in items if isinstance(item, Message)], list(range(3000)))
        self.assertEqual([item for item in items if isinstance(item, Gap)], [])
        self.assertLessEqual({ack.code for ack in acked}, {0, 1, 2})

    async def test_without_a_session_what_was_acknowledged_is_there(self):
        client = await self.client()
        numbers = []
        for number in range(300):
            numbers.append(await client.submit("kept/plain", number, ack=Ack.STORED))
            if number == 150:
                await asyncio.to_thread(self.broker.kill)
                await asyncio.to_thread(self.broker.start)
        await asyncio.wait_for(asyncio.gather(*numbers), PATIENCE_S)
        stored = [item.value for item in await self.all(await client.subscribe("kept/plain", from_="all"), 299)]
        self.assertEqual(sorted(set(stored)), list(range(300)))  # perhaps some twice, none lost

    async def test_an_acknowledged_reader_over_cuts(self):
        publisher = await self.client()
        async with Cut(self.broker.unix) as cut:
            worker = await self.client(cut.url, client_id="worker", session_s=600)
            subscription = await worker.subscribe("kept/work", ack="each", durable=True, from_="acked", window=20)
            for number in range(500):
                await publisher.submit("kept/work", number)
            done = set()
            while len(done) < 500:
                item = await subscription.next(PATIENCE_S)
                self.assertIsInstance(item, Message)
                done.add(item.value)
                item.ack()
                if item.value % 100 == 50 and not item.redelivered:
                    cut.cut()
            self.assertEqual(done, set(range(500)))
            await subscription.unsubscribe()

    async def test_what_a_cut_took_along_is_counted_exactly(self):
        publisher = await self.client()
        async with Cut(self.broker.unix) as cut:
            client = await self.client(cut.url, client_id="listener", session_s=600)
            subscription = await client.subscribe("plain", window=1000)
            await publisher.publish("plain", -1)
            self.assertEqual((await subscription.next(PATIENCE_S)).value, -1)
            cut.budget = 150
            for number in range(100):
                await publisher.publish("plain", number)
            await publisher.ping()
            some = await subscription.next(PATIENCE_S)
            cut.cut()
            for number in range(100, 120):
                await publisher.publish("plain", number)
            items = [some, *await self.all(subscription, 119)]
        gaps = [item for item in items if isinstance(item, Gap)]
        numbers = [item.value for item in items if isinstance(item, Message)]
        self.assertEqual(len(gaps), 1, gaps)
        self.assertEqual((gaps[0].reason, gaps[0].count + len(numbers)), (0, 120))
        place = items.index(gaps[0])  # in the place of the loss
        self.assertEqual(numbers, [*range(place), *range(place + gaps[0].count, 120)])

    async def test_without_a_session_the_loss_is_told_without_a_count(self):
        publisher = await self.client()
        async with Cut(self.broker.unix) as cut:
            client = await self.client(cut.url)
            subscription = await client.subscribe("plain")
            await publisher.publish("plain", "before")
            before = await subscription.next(PATIENCE_S)
            cut.cut()
            items = [before, await subscription.next(PATIENCE_S)]
            await client.ping()
            await publisher.publish("plain", "after")
            items += await self.all(subscription, "after")
        self.assertEqual(items[1], Gap(None, 0))
        self.assertEqual(str(items[1]), "an unknown number of messages (connection_lost)")

    async def test_a_session_that_is_cut_publishes_everything_once(self):
        async with Cut(self.broker.unix) as cut:
            client = await self.client(cut.url, client_id="once", session_s=600)
            answers = []
            for number in range(1000):
                answers.append(await client.submit("kept/once", number))
                if number % 200 == 100:
                    cut.budget = 5  # the answers get lost
                    await asyncio.sleep(0.01)
                    cut.cut()
            codes = {ack.code for ack in await asyncio.wait_for(asyncio.gather(*answers), PATIENCE_S)}
            self.assertLessEqual(codes, {0, 1, 2})
            stored = await self.all(await client.subscribe("kept/once", from_="all"), 999)
        self.assertEqual([item.value for item in stored], list(range(1000)))

    async def test_requests_between_publishes_do_not_disturb_what_is_resent(self):
        server = await self.client()
        await server.subscribe("silent")
        async with Cut(self.broker.unix) as cut:
            client = await self.client(cut.url, client_id="asker", session_s=600)
            cut.budget = 0
            answers = [await client.submit("kept/between", 0)]
            asking = asyncio.create_task(client.request("silent", timeout=PATIENCE_S))
            await asyncio.sleep(0)
            answers.append(await client.submit("kept/between", 1))
            await asyncio.sleep(0.05)
            cut.cut()
            with self.assertRaises(pubsub.ConnectionLost):
                await asking
            answers.append(await client.submit("kept/between", 2))
            await asyncio.wait_for(asyncio.gather(*answers), PATIENCE_S)
            stored = await self.all(await client.subscribe("kept/between", from_="all"), 2)
        self.assertEqual([item.value for item in stored], [0, 1, 2])

    async def test_publishing_between_connections_waits_for_the_next(self):
        client = await self.client()
        self.broker.kill()
        while client.connected:
            await asyncio.sleep(0.005)
        with self.assertRaises(pubsub.ConnectionLost):
            await client.ping()
        waiting = [asyncio.create_task(client.publish("later", number, ack=number % 2)) for number in range(4)]
        subscribing = asyncio.create_task(client.subscribe("later"))
        await asyncio.sleep(0.05)
        self.assertFalse(any(task.done() for task in [*waiting, subscribing]))
        self.broker.start()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*waiting, subscribing)

    async def test_it_comes_back_at_a_random_time_and_not_all_at_once(self):
        """A listener that ends every connection sees the same client again and again, less and less often."""
        loop = asyncio.get_running_loop()
        times = []
        server = await asyncio.start_server(lambda _, writer: (times.append(loop.time()), writer.close()), "127.0.0.1", 0)
        url = "tcp://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        client = await pubsub.connect(url, retry_first=True, reconnect_min=0.01, reconnect_max=0.1)
        while len(times) < 20:
            await asyncio.sleep(0.01)
        await client.close()
        server.close()
        waits = [after - before for before, after in zip(times[5:], times[6:])]
        self.assertGreater(max(waits) - min(waits), 0.01, waits)

    async def test_without_reconnecting_it_ends(self):
        client = await self.client(reconnect=False)
        subscription = await client.subscribe("t")
        self.broker.kill()
        with self.assertRaises(pubsub.Closed):
            await subscription.next(PATIENCE_S)
        with self.assertRaises(pubsub.Closed):
            await client.publish("t", 1)

    async def test_a_peer_that_says_nothing_more_is_given_up(self):
        """A broker that is there but silent: the keepalive finds out."""
        client = await self.client(keepalive_s=1)
        with self.broker.stopped():
            while client.connected:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE_S):
            await client.publish("t", 1)


if __name__ == "__main__":
    unittest.main()
