"""Works on what is published to a topic that the broker keeps, and goes on where it was after a crash or a restart.

    worker.py NAME PATTERN [COUNT]     NAME is the worker's own; needs pubsubd --durable 'site/#'
"""
import asyncio
import sys

import pubsub


async def main(name: str, pattern: str, count: int | None) -> None:
    async with pubsub.connect(client_id=name, session_s=7 * 86400, retry_first=True) as client:
        # The number belongs to the session: with it the broker finds this subscription's place again.
        jobs = await client.subscribe(pattern, sid=1, from_="acked", ack="each", durable=True, max_tries=5)
        print("ready", flush=True)
        done = 0
        async for item in jobs:
            if not isinstance(item, pubsub.Message):
                print(f"lost: {item}", flush=True)
                continue
            try:
                print(f"{item.topic} {item.seq}: {item.value}", flush=True)
                item.ack()  # only now: who dies before gets it again
            except pubsub.DocumentError as error:
                print(f"{item.topic} {item.seq}: {error}", flush=True)
                item.reject()  # it won't be better the next time
            done += 1
            if done == count:
                return


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None))
    except KeyboardInterrupt:
        pass
