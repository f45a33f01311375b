"""Publishes a reading every second and loses none while this program lives: what the broker has not stored is sent again.

    sensor.py TOPIC [COUNT]     needs a broker that keeps TOPIC: pubsubd --durable 'site/#'
"""
import asyncio
import os
import sys
import time

import pubsub


async def main(topic: str, count: int, interval_s: float) -> None:
    name = f"sensor-{os.uname().nodename}-{os.getpid()}"
    async with pubsub.connect(client_id=name, session_s=3600, retry_first=True) as client:
        answers: list[asyncio.Future[pubsub.PubAck]] = []
        for number in range(count):
            reading = {"number": number, "load": os.getloadavg()[0], "at_ms": time.time_ns() // 1_000_000}
            # Waits only while 8 MiB are not answered: meanwhile the connection may break and come back.
            answers.append(await client.submit(topic, reading, ack=pubsub.Ack.STORED))
            await asyncio.sleep(interval_s)
        stored = await asyncio.gather(*answers)
        print(f"{len(stored)} readings are stored")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60, float(os.environ.get("INTERVAL_S", "1"))))
