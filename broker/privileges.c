#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

void privileges_forbid_new(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* a kernel that does not know it has nothing to forbid */
}

int privileges_find(struct privileges *user, const char *name, char *text, size_t text_cap)
{
    *user = (struct privileges){0};
    if (name[0] == '\0') return 0;
    errno = 0;
    const struct passwd *entry = getpwnam(name);
    if (entry == NULL) {
        snprintf(text, text_cap, "cannot run as user '%s': %s", name, errno != 0 ? strerror(errno) : "there is none");
        return -1;
    }
    *user = (struct privileges){.uid = entry->pw_uid, .gid = entry->pw_gid, .name = name, .by_root = geteuid() == 0};
    if (user->by_root || geteuid() == user->uid) return 0;
    snprintf(text, text_cap, "cannot run as user '%s': only root can become another user", name);
    return -1;
}

void privileges_give(const struct privileges *user, const char *path)
{
    if (!user->by_root) return;
    if (lchown(path, user->uid, user->gid) != 0) { /* then it stays whose it is; who needs it says so */
    }
}

void privileges_make_directory(const struct privileges *user, const char *path)
{
    if (!user->by_root) return;
    if (mkdir(path, 0700) == 0) privileges_give(user, path); /* else who opens it says why he can't */
}

static int fail(const struct privileges *user, char *text, size_t text_cap)
{
    snprintf(text, text_cap, "cannot run as user '%s': %s", user->name, strerror(errno));
    return -1;
}

int privileges_act_as(const struct privileges *user, char *text, size_t text_cap)
{
    if (!user->by_root) return 0;
    if (initgroups(user->name, user->gid) == 0 && setegid(user->gid) == 0 && seteuid(user->uid) == 0) return 0;
    return fail(user, text, text_cap);
}

void privileges_act_as_root(const struct privileges *user)
{
    if (!user->by_root) return;
    if (seteuid(0) != 0 || setegid(0) != 0) { /* it was root a moment ago; if not, the addresses tell */
    }
}

int privileges_drop(const struct privileges *user, char *text, size_t text_cap)
{
    if (!user->by_root) return 0;
    if (initgroups(user->name, user->gid) == 0 && setgid(user->gid) == 0 && setuid(user->uid) == 0 &&
        (user->uid == 0 || setuid(0) != 0)) /* there is no way back */
        return 0;
    return fail(user, text, text_cap);
}
