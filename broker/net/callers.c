#include "callers.h"
#include "sure.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct caller {
    struct hash_node in_table;
    struct list unwelcomed; /* guests, in the order in which they came */
    uint32_t count, unwelcomed_count;
    char address[PEER_ADDRESS_MAX + 4];
};

/* Whoever has one IPv6 address has all of its /64. */
static void name_of(char name[PEER_ADDRESS_MAX + 4], const struct peer *peer)
{
    struct in6_addr six;
    strcpy(name, peer->address);
    if (peer->is_loopback || inet_pton(AF_INET6, peer->address, &six) != 1) return;
    memset(six.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &six, name, PEER_ADDRESS_MAX);
    strcat(name, "/64");
}

static bool has_address(const struct hash_node *node, const void *key)
{
    return strcmp(container_of(node, struct caller, in_table)->address, key) == 0;
}

static struct caller *find_or_new(struct callers *callers, const char *name)
{
    uint64_t hash = hash_bytes(callers->seed, name, strlen(name));
    struct hash_node *node = hash_find(&callers->table, hash, has_address, name);
    if (node != NULL) return container_of(node, struct caller, in_table);
    struct caller *caller = sure_zeroed(sizeof *caller);
    strcpy(caller->address, name);
    hash_add(&callers->table, &caller->in_table, hash);
    return caller;
}

static void free_if_unused(struct callers *callers, struct caller *caller)
{
    if (caller->count > 0) return;
    hash_remove(&callers->table, &caller->in_table);
    free(caller);
}

enum callers_result callers_enter(struct callers *callers, struct guest *guest, const struct peer *peer,
                                  struct guest **oldest, char *text, size_t text_cap)
{
    char name[PEER_ADDRESS_MAX + 4];
    if (peer->kind != PEER_TCP) return CALLERS_OK;
    name_of(name, peer);
    struct caller *caller = find_or_new(callers, name);
    const struct address_caps *caps = &callers->caps;
    uint32_t most = peer->is_loopback ? caps->per_loopback : caps->per_address;
    if (most > 0 && caller->count >= most) {
        snprintf(text, text_cap, "%s has %u connections, the limit is %u (%s)", name, caller->count, most,
                 peer->is_loopback ? "connections_from_loopback" : "connections_per_address");
        free_if_unused(callers, caller);
        return CALLERS_FULL;
    }
    caller->count++;
    *guest = (struct guest){.caller = caller, .is_unwelcomed = true};
    list_append(&caller->unwelcomed, &guest->in_unwelcomed);
    if (++caller->unwelcomed_count <= caps->unwelcomed_per_address) return CALLERS_OK;
    *oldest = container_of(caller->unwelcomed.first, struct guest, in_unwelcomed);
    snprintf(
        text, text_cap,
        "%s has more than %u connections that have not introduced themselves (unwelcomed_per_address), and this is "
        "the oldest",
        name, caps->unwelcomed_per_address);
    return CALLERS_CROWD;
}

void callers_welcome(struct guest *guest)
{
    if (!guest->is_unwelcomed) return;
    guest->is_unwelcomed = false;
    guest->caller->unwelcomed_count--;
    list_remove(&guest->caller->unwelcomed, &guest->in_unwelcomed);
}

void callers_leave(struct callers *callers, struct guest *guest)
{
    struct caller *caller = guest->caller;
    if (caller == NULL) return;
    callers_welcome(guest);
    guest->caller = NULL;
    caller->count--;
    free_if_unused(callers, caller);
}

void callers_free(struct callers *callers)
{
    hash_free(&callers->table); /* every connection has left */
}
