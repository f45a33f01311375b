/* The JSON object that a measurement prints, on one line. */
#pragma once
#include "run.h"

void report_begin(const struct options *options);
void report_text(const char *key, const char *value);
void report_number(const char *key, double value); /* NaN: null */
void report_count(const char *key, uint64_t value);
void report_bool(const char *key, bool value);
void report_null(const char *key);

/* CPU, rates and latencies of a measured span. */
void report_span(const struct run *run, const struct span *span);

/* The broker's memory now. */
void report_memory(const struct process *broker);

void report_end(void);

/* A whole report of a span that all went through, with lost and wrong; returns the exit code. */
int report_run(const struct run *run, const struct span *span);

/* CPU of the broker for each of count, in us; NaN if not known. */
double broker_cpu_us_per(const struct run *run, const struct span *span, uint64_t count);
