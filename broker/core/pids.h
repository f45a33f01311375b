/* What a session remembers of its publisher, so that nothing is published twice by a client that is back. Nothing happens
 * in sessions without. Internal to the core. */
#ifndef BROKER_PIDS_H
#define BROKER_PIDS_H

#include "model.h"

/* HELLO: the counters of this run of the client's program go on, or begin. Returns up to where all is settled. */
uint64_t pids_begin(struct session *session, uint64_t boot);
/* The first PUB of a connection has this pid. Returns false if it can't be: BYE is said. */
bool pids_go_on(struct session *session, uint64_t pid);
void pids_note_taken(struct session *session, uint64_t first, uint32_t count); /* they are used up */
void pids_note_refused(struct session *session, uint64_t first, uint64_t last);
void pids_note_answered(struct session *session, uint64_t last); /* all up to this one are settled */
void pids_note_stored(struct session *session);  /* what it published up to now will be: its pids go with the commit */
/* Whether the message of this pid was accepted when it came before: then it is not to be published again. *count goes down
 * to that of pids from this one on of which the same is true. */
bool pids_are_known(const struct session *session, uint64_t pid, uint32_t *count);
/* Whether it isn't known any more if it was accepted: then it can't be published, and can't be said to have been. */
bool pids_are_unsure(const struct session *session, uint64_t pid, uint32_t *count);
bool pids_may_be_known(const struct session *session); /* the next pid was used before */
uint64_t pids_boot(const struct session *session); /* of the run of the client's program; 0: nothing is remembered */
void pids_keep_all(struct broker *broker);       /* a commit begins: those that changed are put into it */
void pids_adopt(struct session *session, struct session *from);
void pids_free(struct session *session);

#endif
