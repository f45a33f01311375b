#include "moment.h"

#include <stdio.h>
#include <time.h>

/* Exactly `digits` digits at *p, from least to most. */
static bool take_number(const char **p, int digits, int least, int most, int *number)
{
    int n = 0;
    for (int i = 0; i < digits; i++) {
        char c = **p;
        if (c < '0' || c > '9') return false;
        n = 10 * n + (c - '0');
        ++*p;
    }
    *number = n;
    return n >= least && n <= most;
}

static bool take_char(const char **p, char c)
{
    if (**p != c) return false;
    ++*p;
    return true;
}

/* ".5", ".123", ".123456": what is finer than a ms is cut off. */
static bool take_fraction(const char **p, int *ms)
{
    int digits = 0, factor = 100;
    if (!take_char(p, '.')) return true;
    for (; **p >= '0' && **p <= '9'; ++*p, digits++) {
        *ms += (**p - '0') * factor;
        factor /= 10;
    }
    return digits > 0;
}

static bool take_time_of_day(const char **p, struct tm *calendar, int *ms)
{
    if (!take_number(p, 2, 0, 23, &calendar->tm_hour)) return false;
    if (!take_char(p, ':') || !take_number(p, 2, 0, 59, &calendar->tm_min)) return false;
    if (!take_char(p, ':')) return true;
    return take_number(p, 2, 0, 59, &calendar->tm_sec) && take_fraction(p, ms);
}

bool moment_read(const char *text, uint64_t *ms)
{
    struct tm calendar = {0};
    int year, month, fraction_ms = 0;
    const char *p = text;
    if (!take_number(&p, 4, 1970, 9999, &year) || !take_char(&p, '-')) return false;
    if (!take_number(&p, 2, 1, 12, &month) || !take_char(&p, '-')) return false;
    if (!take_number(&p, 2, 1, 31, &calendar.tm_mday)) return false;
    calendar.tm_year = year - 1900;
    calendar.tm_mon = month - 1;
    if ((take_char(&p, 'T') || take_char(&p, ' ')) && !take_time_of_day(&p, &calendar, &fraction_ms)) return false;
    (void)take_char(&p, 'Z');
    if (*p != '\0') return false;
    int day = calendar.tm_mday;
    time_t second = timegm(&calendar);
    if (second < 0 || calendar.tm_mday != day) return false; /* 31 February */
    *ms = (uint64_t)second * 1000 + (uint64_t)fraction_ms;
    return true;
}

bool moment_write_second(char text[MOMENT_TEXT_MAX], uint64_t second)
{
    time_t unix_time = (time_t)second;
    struct tm calendar;
    if (!gmtime_r(&unix_time, &calendar)) return false;
    return strftime(text, MOMENT_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &calendar) > 0;
}

void moment_write(char text[MOMENT_TEXT_MAX], uint64_t ms)
{
    char second[MOMENT_TEXT_MAX];
    if (moment_write_second(second, ms / 1000)) {
        snprintf(text, MOMENT_TEXT_MAX, "%.30s.%03uZ", second, (unsigned)(ms % 1000));
    } else {
        snprintf(text, MOMENT_TEXT_MAX, "?");
    }
}
