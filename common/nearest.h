/* What somebody may have meant who mistyped a name. */
#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

#define NEAREST_NAME_MAX 32 /* bytes of a name; what is longer is near to nothing */

/* The nearest name, near enough to have been meant, or NULL. names is ended by NULL. */
const char *nearest_name(const char *typed, const char *const *names);

#endif
