/* Tokens and passwords: how they are kept, and whether one that somebody shows is right. Nothing here says which of several
 * things was wrong, nor tells it by the time that it takes. */
#ifndef BROKER_ACCESS_CREDENTIALS_H
#define BROKER_ACCESS_CREDENTIALS_H

#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "env.h"

#define TOKEN_TEXT_MAX 64         /* bytes of a token as its owner has it, NUL counted */
#define TOKEN_HEX_LEN 64          /* digits of what is kept of it */
#define PASSWORD_MAX 1024         /* bytes */
#define PASSWORD_MEMORY_MAX_KIB (256u * 1024) /* what checking one password may take */

struct credentials; /* what two files hold. Only read once it is made */

/* Reads the files, "" for none, and adds to *access what they can let in. Returns NULL and one sentence in text. */
struct credentials *credentials_load(const char *passwords, const char *tokens, struct access *access, char *text,
                                     size_t text_cap);
void credentials_free(struct credentials *credentials); /* NULL is allowed */
bool credentials_have_passwords(const struct credentials *credentials);
bool credentials_have_tokens(const struct credentials *credentials);

/* Whose token this is. Takes as long for any of one length. */
void credentials_find_token(const struct credentials *credentials, const void *token, size_t len,
                            struct verdict *verdict);

/* A password that is to be compared with what is kept for a user: what another thread needs for that, and nothing else. */
struct password_check {
    char kept[crypto_pwhash_STRBYTES];
    struct verdict verdict;       /* of a right password */
    bool is_known;                /* there is such a user; else it is compared with another's, for nothing */
    char *password;               /* the caller's room of PASSWORD_MAX + 1 bytes, locked and in no dump */
    size_t len;
};
/* The password is copied to room. False: it is too long. */
bool password_check_begin(struct password_check *check, const struct credentials *credentials, const void *user,
                          size_t user_len, const void *password, size_t len, char *room);
enum password_result { PASSWORD_RIGHT, PASSWORD_WRONG, PASSWORD_NO_MEMORY };
/* NO_MEMORY: there is not as much as checking takes. */
enum password_result password_check_run(const struct password_check *check); /* any thread; some 100 ms */
void password_check_end(struct password_check *check); /* overwrites it */

/* For those who make the files. Returns -1 for want of memory. */
void token_new(char token[TOKEN_TEXT_MAX]);
void token_keep(char kept[TOKEN_HEX_LEN + 1], const char *token);
int password_keep(char kept[crypto_pwhash_STRBYTES], const char *password);

#endif
