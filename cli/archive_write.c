#include "archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "json_out.h"
#include "moment.h"

void archive_begin(struct archive_writer *writer, struct output *out, const struct stream *stream, uint64_t now_ms)
{
    char time[MOMENT_TEXT_MAX];
    *writer = (struct archive_writer){.out = out};
    moment_write(time, now_ms);
    output_format(out, "{\"pubsub-export\":%d,\"stream\":", ARCHIVE_VERSION);
    json_out_text(out, mps_text(stream->name));
    output_format(out, ",\"number\":%" PRIu64 ",\"first\":%" PRIu64 ",\"next\":%" PRIu64 ",\"time\":\"%s\"}\n",
                  stream->number, stream->first, stream->next, time);
}

static void end_block(struct archive_writer *writer)
{
    struct output *out = writer->out;
    if (writer->block_messages == 0) return;
    const struct buffer *frames = &writer->frames;
    output_format(out, "{\"messages\":%" PRIu64 ",\"bytes\":%zu,\"first\":%" PRIu64 ",\"last\":%" PRIu64,
                  writer->block_messages, frames->len, writer->first, writer->last);
    output_format(out, ",\"since_ms\":%" PRIu64 ",\"until_ms\":%" PRIu64 ",\"sum\":\"%016" PRIx64 "\"}\n",
                  writer->since_ms, writer->until_ms,
                  (uint64_t)XXH3_64bits_withSeed(frames->data, frames->len, writer->first));
    output_put(out, frames->data, frames->len);
    writer->frames.len = 0;
    writer->block_messages = 0;
}

void archive_message(struct archive_writer *writer, const struct pubsub_message *message)
{
    struct buffer *frames = &writer->frames;
    const mps_view topic = {(const uint8_t *)message->topic, (uint32_t)message->topic_len};
    const mps_view props = {message->props, (uint32_t)message->props_len};
    buffer_reserve(frames, 16 + message->topic_len + message->props_len + message->payload_len);
    struct mps_out head = mps_out_open(frames->data + frames->len, frames->cap - frames->len);
    mps_encode_msg_head(&head, topic, props, (uint32_t)message->payload_len);
    frames->len += head.len;
    buffer_append(frames, message->payload, message->payload_len);
    if (writer->block_messages++ == 0) {
        writer->first = message->seq;
        writer->since_ms = message->time_ms;
    }
    writer->last = message->seq;
    writer->until_ms = message->time_ms;
    writer->messages++;
    if (frames->len >= ARCHIVE_BLOCK_BYTES) end_block(writer);
}

void archive_gap(struct archive_writer *writer, const struct pubsub_gap *gap)
{
    char count[24] = "null";
    end_block(writer);
    if (gap->exact) snprintf(count, sizeof count, "%" PRIu64, gap->count);
    output_format(writer->out,
                  "{\"lost\":{\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"count\":%s,\"reason\":\"%s\"}}\n",
                  gap->first, gap->last, count, gap->reason_name);
    writer->lost += gap->exact ? gap->count : 0;
}

void archive_end(struct archive_writer *writer)
{
    end_block(writer);
    output_format(writer->out, "{\"end\":{\"messages\":%" PRIu64 ",\"lost\":%" PRIu64 "}}\n", writer->messages,
                  writer->lost);
}

void archive_writer_free(struct archive_writer *writer)
{
    buffer_free(&writer->frames);
}
