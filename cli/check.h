/* What `pubsub check` found, and how it is said. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <stdbool.h>

#include "report.h"

/* As monitors count them: exit codes. */
enum check_status { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN };

/* What is looked at. PERCENT: of a budget, or of a disk; TIME: seconds. */
enum check_subject { CHECK_MEMORY, CHECK_LAG, CHECK_LOST, CHECK_DISK };
#define CHECK_SUBJECTS 4

struct check_item {
    bool is_asked;          /* it is to be looked at */
    bool has_critical;
    double warning, critical; /* limits: reached is too much; of CHECK_DISK, less is too little */
    bool is_known;          /* the broker has said it */
    double value;
    enum check_status status;
};

enum check_form { CHECK_TEXT, CHECK_NAGIOS, CHECK_PROMETHEUS };

struct check {
    struct check_item items[CHECK_SUBJECTS];
    double within_s;               /* messages lost in this time; 0: since the broker's start */
    double queue_percent, input_percent; /* of their budgets; the greater one is the memory's value */
    const struct report_reader *slowest; /* the greatest lag; NULL: nothing waits */
    enum check_status status;      /* the worst of all */
    const char *why;               /* CHECK_UNKNOWN: a sentence */
};

/* Prints it on standard output; CHECK_TEXT says nothing of what is unknown, which was complained of. Returns whether it got
 * there, or complains. */
bool check_print(const struct check *check, enum check_form form);

#endif
