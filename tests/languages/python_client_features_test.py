"""client-lib/python with a real broker: everything that it offers, as a program that uses it would see it."""
import asyncio
import pathlib
import subprocess
import tempfile
import unittest

import brokers
import pubsub
from issuer import Authority
from pubsub import Ack, Gap, Mark, Message, Nobody, PubSubError, Refused, Will

PATIENCE_S = 60
STREAMS = ("--durable", "kept/#")


class ClientTest(unittest.IsolatedAsyncioTestCase):
    """One broker for all tests of a class; each has topics of its own."""
    BROKER = {"arguments": STREAMS}

    @classmethod
    def setUpClass(cls):
        cls.broker = brokers.Broker(**cls.BROKER)
        cls.addClassCleanup(cls.broker.stop)

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which tells of every pause of a busy machine

    async def client(self, url=None, **options):
        client = await pubsub.connect(url or self.broker.unix, **{"connect_timeout": PATIENCE_S, **options})
        self.addAsyncCleanup(client.close)
        return client

    async def next(self, subscription):
        return await subscription.next(PATIENCE_S)

    async def values(self, subscription, count):
        """The values of the next messages; nothing may be lost between them."""
        items = [await self.next(subscription) for _ in range(count)]
        return [item.value for item in items]


class Publishing(ClientTest):
    async def test_documents_and_bytes_over_tcp_and_unix(self):
        for url in self.broker.tcp, self.broker.unix:
            client = await self.client(url)
            async with await client.subscribe("docs") as subscription:
                documents = [None, True, -1, 2**64 - 1, 1.5, "é水", b"\0\xff", [1, [2]], {"a": {"b": [3]}}, "x" * 70000]
                for document in documents:
                    self.assertEqual((await client.publish("docs", document)).matched, 1)
                self.assertEqual(await self.values(subscription, len(documents)), documents)
                await client.publish("docs", raw=b"\xc1", content_type="image/png")
                message = await self.next(subscription)
                self.assertEqual((message.payload, message.content_type, message.is_document), (b"\xc1", "image/png", False))
                with self.assertRaisesRegex(pubsub.DocumentError, "image/png"):
                    message.value

    async def test_what_an_answer_says(self):
        client = await self.client()
        alone = await client.publish("answer", 1)
        self.assertEqual((alone.code, alone.matched, alone.dropped, alone.stream), (1, 0, 0, None))
        full = await client.subscribe("answer", policy="drop_new", max_msgs=1, window=1)
        acks = [await client.publish("answer", number) for number in range(4)]
        self.assertEqual([ack.matched for ack in acks], [1] * 4)
        self.assertEqual(sum(ack.dropped for ack in acks), 2)  # one was sent, one waits
        self.assertEqual((await self.next(full)).value, 0)
        self.assertEqual((await self.next(full)).value, 1)
        self.assertEqual(await self.next(full), Gap(2, 2))

    async def test_many_at_once_are_answered_each(self):
        client = await self.client()
        subscription = await client.subscribe("many", window=16)
        answers = [await client.submit("many", number) for number in range(2000)]
        taken = asyncio.create_task(self.values(subscription, 2000))
        self.assertEqual({ack.matched for ack in await asyncio.gather(*answers)}, {1})
        self.assertEqual(await taken, list(range(2000)))

    async def test_an_outbox_that_is_full_waits(self):
        client = await self.client(outbox_bytes=1000)
        answers = []
        for number in range(100):
            answers.append(await client.submit("outbox", "x" * 200))
            self.assertLessEqual(sum(not answer.done() for answer in answers), 5)
        await client.flush()
        self.assertTrue(all(answer.done() for answer in answers))

    async def test_levels(self):
        client = await self.client()
        stored = [await client.publish("kept/levels", number, ack=Ack.STORED) for number in range(2)]
        self.assertEqual(stored[1].seq, stored[0].seq + 1)
        self.assertGreaterEqual(stored[0].stream, 64)
        with self.assertRaises(Refused) as refused:
            await client.publish("transient", 1, ack=Ack.STORED)
        self.assertEqual(refused.exception.code, 216)
        self.assertRegex(str(refused.exception), "transient")
        self.assertEqual((await client.publish("kept/levels", 2, ack=2)).seq, stored[1].seq + 1)  # the refused one did no harm
        subscription = await client.subscribe("none")
        await client.publish("none", 1, ack=Ack.NONE)
        await client.publish("none", 2)
        await client.publish("none", 3, ack=Ack.NONE)
        self.assertEqual(await self.values(subscription, 3), [1, 2, 3])

    async def test_refusals(self):
        client = await self.client()
        with self.assertRaises(Nobody):
            await client.publish("nobody/here", 1, must_route=True)
        with self.assertRaises(Refused) as refused:
            await client.publish("$SYS/mine", 1)
        self.assertEqual(refused.exception.code, 211)
        for topic in "", "a/+", "#", "a\0", "x" * 256, "/" * 32, "\ud800":
            with self.assertRaises(ValueError):
                await client.publish(topic, 1)
        with self.assertRaisesRegex(ValueError, "1048577 bytes"):
            await client.publish("large", raw=bytes(1048577))
        with self.assertRaisesRegex(ValueError, "8192"):
            await client.publish("large", 1, headers={"h": "x" * 9000})
        self.assertEqual((await client.publish("fine", 1)).code, 1)

    async def test_retained_values(self):
        client = await self.client()
        await client.publish("state/a", "old", retain=True)
        await client.publish("state/a", "new", retain=True)
        await client.publish("state/b", "event")
        subscription = await client.subscribe("state/#", marks=True)
        message = await self.next(subscription)
        self.assertEqual((message.value, message.retained), ("new", True))
        self.assertEqual(await self.next(subscription), Mark("retained_done"))
        await client.clear("state/a")
        self.assertEqual((await self.next(subscription)).payload, b"")
        for retained in True, False:
            again = await client.subscribe("state/#", retained=retained)
            self.assertEqual((await again.stat()).sent, 0)

    async def test_properties(self):
        client = await self.client()
        subscription = await client.subscribe("props", filter='@props.unit == "C" and t > 20')
        await client.publish("props", {"t": 30}, headers={"unit": "F"})
        await client.publish("props", {"t": 30}, headers={"unit": "C", "tags": [1, "two"]}, key="k", ttl_ms=60000)
        message = await self.next(subscription)
        self.assertEqual((message.headers, message.key, message.props[4]), ({"unit": "C", "tags": [1, "two"]}, "k", 60000))

    async def test_a_will(self):
        listener = await self.client()
        subscription = await listener.subscribe("will/#")
        victim = await self.client(will=Will("will/x", {"state": "gone"}))
        victim._connection.writer.transport.abort()
        self.assertEqual((await self.next(subscription)).value, {"state": "gone"})
        polite = await self.client(will=Will("will/y", raw=b"never", retain=True))
        await polite.close()
        await listener.publish("will/z", "end")
        self.assertEqual((await self.next(subscription)).topic, "will/z")


class Receiving(ClientTest):
    async def test_losses_stand_where_they_happened(self):
        client = await self.client()
        subscription = await client.subscribe("burst", policy="drop_old", max_msgs=10, window=5)
        for number in range(100):
            await client.publish("burst", number)
        seen, lost = [], 0
        while not seen or seen[-1] != 99:
            item = await self.next(subscription)
            if isinstance(item, Gap):
                self.assertEqual((item.reason, seen), (1, [0, 1, 2, 3, 4]))
                self.assertRegex(str(item), r"\d+ messages \(drop_old\)")
                lost += item.count
            else:
                seen.append(item.value)
        self.assertEqual((seen, lost), ([0, 1, 2, 3, 4, *range(90, 100)], 85))
        stat = await subscription.stat()
        self.assertEqual((stat.matched, stat.sent, stat.lost, stat.queued), (100, 15, 85, 0))

    async def test_a_slow_reader_is_sent_no_more_than_its_window(self):
        client = await self.client()
        slow = await client.subscribe("slow", window=8)
        for number in range(1000):
            await client.publish("slow", number)  # its answers come although nobody reads `slow`
        self.assertEqual(slow._messages, 8)
        self.assertEqual((await slow.stat()).queued, 992)
        self.assertEqual(await self.values(slow, 1000), list(range(1000)))

    async def test_a_window_of_one(self):
        client = await self.client()
        subscription = await client.subscribe("one", window=1)
        for number in range(20):
            await client.publish("one", number)
        self.assertEqual(await self.values(subscription, 20), list(range(20)))

    async def test_the_policy_latest_keeps_the_newest_of_each_key(self):
        client = await self.client()
        subscription = await client.subscribe("latest", policy="latest", window=1)
        for number in range(10):
            await client.publish("latest", number, key=number % 2)
        self.assertEqual((await self.next(subscription)).value, 0)
        items = [await self.next(subscription) for _ in range(3)]
        self.assertEqual([item.count if isinstance(item, Gap) else item.value for item in items], [7, 8, 9])
        self.assertEqual(items[0].reason, 3)

    async def test_too_large_for_this_client(self):
        client = await self.client(max_frame=1000)
        subscription = await client.subscribe("large")
        await client.publish("large", "x" * 2000)
        await client.publish("large", "small")
        self.assertEqual(await self.next(subscription), Gap(1, 7))
        self.assertEqual((await self.next(subscription)).value, "small")

    async def test_groups(self):
        client = await self.client()
        members = [await client.subscribe("jobs", group="workers", window=1) for _ in range(2)]
        for number in range(10):
            self.assertEqual((await client.publish("jobs", number)).matched, 1)
        done = []

        async def work(member):
            async for item in member:
                done.append(item.value)
                if len(done) == 10:
                    await asyncio.gather(*(each.unsubscribe() for each in members))
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*map(work, members))
        self.assertEqual(sorted(done), list(range(10)))

    async def test_refused_subscriptions(self):
        client = await self.client()
        for options, code in (({"pattern": "a/#/b"}, 210), ({"pattern": "a", "filter": "temp >"}, 220),
                              ({"pattern": "a", "from_": "all"}, 215), ({"pattern": "kept/a", "durable": True}, 219)):
            with self.subTest(**options), self.assertRaises(Refused) as refused:
                await client.subscribe(**options)
            self.assertEqual(refused.exception.code, code)
            self.assertGreater(len(refused.exception.text), 10)
        self.assertEqual(client._subs, {})

    async def test_unsubscribing_says_what_came_and_ends_the_loop(self):
        client = await self.client()
        subscription = await client.subscribe("end", policy="drop_old", max_msgs=5, window=2)
        for number in range(10):
            await client.publish("end", number)
        sent, lost = await subscription.unsubscribe()
        self.assertEqual((sent, lost), (2, 8))
        left = [item async for item in subscription]
        self.assertEqual([item.value for item in left if isinstance(item, Message)], [0, 1])
        self.assertEqual((await client.publish("end", 1)).matched, 0)

    async def test_waiting_for_a_message_takes_no_longer_than_asked(self):
        client = await self.client()
        subscription = await client.subscribe("quiet")
        with self.assertRaises(TimeoutError):
            await subscription.next(0.01)
        await client.publish("quiet", 1)
        self.assertEqual((await self.next(subscription)).value, 1)

    async def test_documents_that_are_none(self):
        client = await self.client()
        subscription = await client.subscribe("bad")
        deep = b"\x91" * 40 + b"\x01"
        for payload in b"", b"\x01\x02", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x92\x01", deep, b"\xa1\xff", b"\x81\x90\x01":
            await client._submit("bad", None, payload, 1, False, False)
            message = await self.next(subscription)
            with self.assertRaises(pubsub.DocumentError):
                message.value
            self.assertEqual(message.payload, payload)


class Streams(ClientTest):
    async def publish(self, client, topic, count):
        return [(await client.publish(topic, number, ack=Ack.STORED)).seq for number in range(count)]

    async def test_where_a_reader_begins(self):
        client = await self.client()
        seqs = await self.publish(client, "kept/from", 10)
        stream = (await client.publish("kept/from", "last", ack=Ack.STORED)).stream
        for begin, first, count in (("all", 0, 10), (("last", 3), 8, 2), (("seq", stream, seqs[5]), 5, 5), (("ago", 60000), 0, 10),
                                    (("time", 0), 0, 10)):
            with self.subTest(begin=begin):
                async with await client.subscribe("kept/from", from_=begin, window=3) as subscription:
                    self.assertEqual(await self.values(subscription, count + 1), [*range(first, 10), "last"])
                    await asyncio.wait_for(subscription.caught_up(), PATIENCE_S)
        async with await client.subscribe("kept/from", from_="last_per_topic", marks=True) as subscription:
            self.assertEqual(await self.next(subscription), Mark("retained_done"))
            message = await self.next(subscription)
            self.assertEqual((message.value, message.seq, message.stream, message.replayed), ("last", seqs[-1] + 1, stream, True))
            self.assertGreater(message.time_ms, 1_600_000_000_000)
            self.assertEqual(await self.next(subscription), Mark("caught_up"))

    async def test_acknowledging(self):
        client = await self.client()
        subscription = await client.subscribe("kept/acks", ack="each", inflight=2)
        await self.publish(client, "kept/acks", 4)
        first, second = await self.next(subscription), await self.next(subscription)
        with self.assertRaises(TimeoutError):
            await subscription.next(0.05)  # two are unacknowledged
        first.ack()
        second.nack()
        third = await self.next(subscription)
        again = third if third.redelivered else await self.next(subscription)
        self.assertEqual((again.value, again.tries), (1, 2))
        again.reject()
        if third is again:
            third = await self.next(subscription)
        third.ack_upto()
        self.assertEqual((await self.next(subscription)).value, 3)
        plain = await client.subscribe("kept/acks")
        await self.publish(client, "kept/acks", 1)
        with self.assertRaisesRegex(ValueError, "with ack"):
            (await self.next(plain)).ack()

    async def test_what_is_rejected_is_found_below_dead(self):
        client = await self.client()
        dead = await client.subscribe("$dead/#")
        subscription = await client.subscribe("kept/dead", ack="each")
        await client.publish("kept/dead", "poison")
        (await self.next(subscription)).reject()
        message = await self.next(dead)
        self.assertEqual((message.topic, message.value, message.headers["reason"]), ("$dead/kept/dead", "poison", "rejected"))

    async def test_a_durable_subscription_outlives_the_program(self):
        options = {"ack": "upto", "durable": True, "from_": "acked", "sid": 7}
        publisher = await self.client()
        worker = await self.client(client_id="worker", session_s=600)
        subscription = await worker.subscribe("kept/durable", **options)
        await self.publish(publisher, "kept/durable", 5)
        self.assertEqual(await self.values(subscription, 2), [0, 1])
        third = await self.next(subscription)
        third.ack_upto()
        await worker.ping()
        worker._connection.writer.transport.abort()
        await worker.close(0)
        again = await self.client(client_id="worker", session_s=600)
        await self.publish(publisher, "kept/durable", 1)
        subscription = await again.subscribe("kept/durable", **options)
        self.assertEqual(await self.values(subscription, 3), [3, 4, 0])
        await subscription.unsubscribe()

    async def test_what_a_session_kept_is_not_lost_before_it_is_asked_for(self):
        publisher = await self.client()
        first = await self.client(client_id="keeper", session_s=600)
        await first.subscribe("while/away", sid=1, window=4)
        first._connection.writer.transport.abort()
        await first.close(0)
        for number in range(20):
            self.assertEqual((await publisher.publish("while/away", number)).matched, 1)
        second = await self.client(client_id="keeper", session_s=600)
        await second.ping()  # what the old credit allowed has come
        subscription = await second.subscribe("while/away", sid=1)
        self.assertEqual(await self.values(subscription, 20), list(range(20)))


class Requests(ClientTest):
    async def serve(self, topic, answer, count=1):
        server = await self.client()
        subscription = await server.subscribe(topic)

        async def run():
            async for request in subscription:
                for _ in range(count):
                    await server.reply(request, answer(request.value))
        task = asyncio.create_task(run())
        self.addAsyncCleanup(asyncio.gather, task, return_exceptions=True)
        self.addCleanup(task.cancel)

    async def test_questions_and_answers(self):
        await self.serve("square", lambda number: number * number)
        client = await self.client()
        answers = await asyncio.gather(*(client.request("square", number, timeout=PATIENCE_S) for number in range(50)))
        self.assertEqual([answer.value for answer in answers], [number * number for number in range(50)])
        self.assertEqual(client._requests, {})

    async def test_several_answers(self):
        await self.serve("poll", lambda _: "here", count=3)
        client = await self.client()
        answers = [answer.value async for answer in client.request_many("poll", timeout=PATIENCE_S, max_replies=3)]
        self.assertEqual(answers, ["here"] * 3)
        self.assertLessEqual({answer.value async for answer in client.request_many("poll", timeout=0.2)}, {"here"})

    async def test_nobody_and_nothing(self):
        client = await self.client()
        with self.assertRaises(Nobody):
            await client.request("no/such/service", timeout=PATIENCE_S)
        await (await self.client()).subscribe("silent")
        with self.assertRaisesRegex(TimeoutError, "'silent' in 0.05 s"):
            await client.request("silent", timeout=0.05)
        with self.assertRaisesRegex(ValueError, "names no topic"):
            await client.reply(Message("t", b"", {}))

    async def test_a_request_ends_with_its_connection(self):
        await (await self.client()).subscribe("silent/2")
        client = await self.client()
        subscription = await client.subscribe("after")
        asking = asyncio.create_task(client.request("silent/2", timeout=PATIENCE_S))
        while not client._unanswered and not client._requests:
            await asyncio.sleep(0)
        client._connection.writer.transport.abort()
        with self.assertRaises(pubsub.ConnectionLost):
            await asking
        self.assertEqual((await client.publish("after", 1)).matched, 1)
        self.assertEqual(await self.next(subscription), Gap(None, 0))  # no session: nobody counted meanwhile


class WhoComesIn(ClientTest):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(directory.cleanup)
        place = pathlib.Path(directory.name)
        authority = Authority(directory.name)
        server = authority.issue("server")
        cls.ca = authority.path
        tokens, passwords = place / "tokens", place / "passwords"

        def run(*arguments, **how):
            return subprocess.run([brokers.PUBSUBD, *map(str, arguments)], check=True, capture_output=True, text=True, **how).stdout
        cls.token = run("token", "new", "bob", "--file", tokens).strip().encode()
        run("passwd", passwords, "ann", input="correct horse\n")
        cls.BROKER = {"listens": False, "config": f"""[limits]
handshake_timeout = {PATIENCE_S}s
[access]
tokens = {tokens}
passwords = {passwords}
[listener plain]
url = tcp://127.0.0.1:0
[listener tls]
url = tls://127.0.0.1:0
certificate = {server.path}
key = {server.key}
"""}
        super().setUpClass()
        cls.plain, cls.tls = cls.broker.tcp, cls.broker.tls[0]

    def context(self):
        return pubsub.ssl.create_default_context(cafile=self.ca)

    async def test_tls_with_a_token_and_with_a_password(self):
        for proof in {"token": self.token}, {"user": "ann", "password": "correct horse"}:
            client = await self.client(self.tls, tls=self.context(), **proof)
            subscription = await client.subscribe("over/tls")
            await client.publish("over/tls", "x" * 300000)
            self.assertEqual(len((await self.next(subscription)).value), 300000)

    async def test_who_is_not_believed(self):
        for proof in {"token": b"mps_wrong"}, {"user": "ann", "password": "wrong"}:
            with self.assertRaises(pubsub.AuthError) as refused:
                await self.client(self.plain, **proof)
            self.assertEqual(refused.exception.code, 108)

    async def test_a_broker_that_can_not_be_trusted(self):
        with self.assertRaisesRegex(pubsub.ConnectFailed, "certificate"):
            await self.client(self.tls)
        with self.assertRaises(pubsub.ConnectFailed):  # no TLS there
            await self.client(self.plain.replace("tcp:", "tls:"), tls=self.context())


class Connecting(ClientTest):
    async def test_wrong_urls_and_options(self):
        for url in "", "tcp://host", "tcp://:1", "tcp://h:99999", "http://h:1", "unix:", "tls://h:1/path":
            with self.subTest(url=url), self.assertRaises(ValueError):
                pubsub.connect([url])
        with self.assertRaises(ValueError):
            pubsub.connect([])
        with self.assertRaises(ValueError):
            pubsub.connect("tcp://h:1", user="ann")

    async def test_nobody_listens(self):
        with self.assertRaisesRegex(pubsub.ConnectFailed, "cannot connect to unix:/nowhere/s"):
            await pubsub.connect("unix:/nowhere/s")
        client = await self.client(["unix:/nowhere/s", self.broker.tcp])
        self.assertTrue(client.connected)

    async def test_a_bad_client_id(self):
        with self.assertRaises(PubSubError) as refused:
            await self.client(client_id="a/b")
        self.assertEqual(refused.exception.code, 117)

    async def test_taken_over(self):
        states = []
        first = await self.client(client_id="one", on_state=lambda state, text: states.append(state))
        subscription = await first.subscribe("t")
        await self.client(client_id="one")
        with self.assertRaises(pubsub.TakenOver):
            await self.next(subscription)
        with self.assertRaises(pubsub.TakenOver):
            await first.publish("t", 1)
        self.assertEqual(states, [pubsub.State.CONNECTED, pubsub.State.LOST, pubsub.State.ENDED])

    async def test_after_close(self):
        client = await self.client()
        subscription = await client.subscribe("closed")
        answer = await client.submit("closed", 1)
        await client.close(PATIENCE_S)
        self.assertEqual(answer.result().matched, 1)
        self.assertEqual([item.value async for item in subscription], [1])
        with self.assertRaises(pubsub.Closed):
            await client.publish("closed", 2)
        with self.assertRaises(pubsub.Closed):
            await client.subscribe("closed")
        await client.close()


if __name__ == "__main__":
    unittest.main()
