/* Completion: what may stand where a shell's user is typing. The shells' scripts run `pubsub __complete WORD...`, the last
 * WORD being the one that is typed ("" if it is not begun). Its words are parsed as always, by the same tables, up to the
 * last; for that one candidates are printed instead:
 *   a line that says what the shell does with them: "words"; "open", a word is not over with a candidate; "files", names of
 *   files do as well
 *   a line for each candidate: the whole word, and behind a tab what it means, if there is something to say
 * Nothing is said about what is wrong with the words before. */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include "options.h"

#define COMPLETE_COMMAND "__complete"

void complete_begin(void); /* the program was called for that */
bool completing(void);     /* it was */

/* Completes the word as what stands there by usage: an option, or with options_ended or without a dash an argument. before:
 * how many arguments stand before it. */
void complete_word(const struct usage *usage, const char *word, bool options_ended, int before);

/* Completes the value of an option. into as of its table. */
void complete_value(const struct usage *usage, const struct option_row *row, void *into, const char *word);

/* Told by option_choice() while the value of an option is completed: what it may be. Ended by NULL. */
void complete_choices(const char *const *names);

/* ---- for those who know candidates ---- */

/* Prints a candidate if it begins with what is typed, and a terminal can show it. help: a clause, or NULL. */
void complete_offer(const char *word, size_t len, const char *help);
const char *complete_typed(void); /* what is typed of it */

#endif
