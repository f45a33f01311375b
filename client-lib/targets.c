#include "targets.h"

#include <pubsub/pubsub.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char CANNOT[] = "cannot connect to ";

static int refuse(char *text, size_t text_cap, const char *url, size_t len, const char *why)
{
    int shown = len < MPS_URL_MAX ? (int)len : MPS_URL_MAX;
    snprintf(text, text_cap, "bad URL '%.*s': %s", shown, url, why);
    return PUBSUB_EINVAL;
}

static int take(struct mps_targets *targets, const char *url, size_t len, char *text, size_t text_cap)
{
    struct mps_target *target = &targets->list[targets->count];
    if (len >= sizeof target->text) {
        snprintf(text, text_cap, "the URL is longer than %d bytes", MPS_URL_MAX - 1);
        return PUBSUB_EINVAL;
    }
    memcpy(target->text, url, len);
    target->text[len] = '\0';
    const char *why = mps_url_parse(&target->url, target->text);
    if (why != NULL) return refuse(text, text_cap, url, len, why);
    targets->count++;
    return PUBSUB_OK;
}

int mps_targets_parse(struct mps_targets *targets, const char *urls, char *text, size_t text_cap)
{
    size_t count = 1;
    for (const char *p = urls; *p != '\0'; p++) count += *p == ',';
    if (count > MPS_TARGETS_MAX) {
        snprintf(text, text_cap, "%zu URLs are more than the %d that are possible", count, MPS_TARGETS_MAX);
        return PUBSUB_EINVAL;
    }
    targets->list = calloc(count, sizeof *targets->list);
    if (targets->list == NULL) {
        snprintf(text, text_cap, "out of memory");
        return PUBSUB_ENOMEM;
    }
    while (targets->count < count) {
        size_t len = strcspn(urls, ",");
        int rc = take(targets, urls, len, text, text_cap);
        if (rc != PUBSUB_OK) return rc;
        if (count > 1 && targets->list[targets->count - 1].url.kind == MPS_URL_FD)
            return refuse(text, text_cap, urls, len, "a descriptor can't be one of several");
        urls += len + (urls[len] == ',');
    }
    return PUBSUB_OK;
}

void mps_targets_free(struct mps_targets *targets)
{
    free(targets->list);
    *targets = (struct mps_targets){0};
}

/* Each has an equal share of the text, so that the last one is named as well, and of that the URL has a half at most.
 */
static void note(struct mps_targets *targets, const char *why)
{
    char piece[MPS_TARGETS_WHY_MAX];
    const char *url = targets->list[targets->at].text;
    size_t used = strlen(targets->why), share = sizeof targets->why / targets->count - 2, url_len = strlen(url);
    if (strncmp(why, CANNOT, sizeof CANNOT - 1) == 0 && strncmp(why + sizeof CANNOT - 1, url, url_len) == 0 &&
        strncmp(why + sizeof CANNOT - 1 + url_len, ": ", 2) == 0)
        why += sizeof CANNOT - 1 + url_len + 2;
    snprintf(piece, share, "%.*s: %s", (int)(share / 2), url, why);
    snprintf(targets->why + used, sizeof targets->why - used, "%s%s", used > 0 ? "; " : "", piece);
}

bool mps_targets_failed(struct mps_targets *targets, const char *why, bool refused)
{
    if (targets->count == 1) {
        targets->failed = 1;
        targets->refused = refused;
        snprintf(targets->why, sizeof targets->why, "%s", why);
        return false;
    }
    note(targets, why);
    targets->refused += refused;
    targets->at = (targets->at + 1) % targets->count;
    return ++targets->failed < targets->count;
}

bool mps_targets_end_round(struct mps_targets *targets, char *text, size_t text_cap)
{
    bool useless = targets->refused == targets->count;
    if (targets->count == 1) snprintf(text, text_cap, "%s", targets->why);
    else snprintf(text, text_cap, "cannot connect to any of %zu brokers: %s", targets->count, targets->why);
    mps_targets_connected(targets);
    return useless;
}

void mps_targets_connected(struct mps_targets *targets)
{
    targets->failed = targets->refused = 0;
    targets->why[0] = '\0';
}
