/* The JSON object that a measurement prints, on one line. */
#pragma once
#include "run.h"

void report_begin(const struct options *options);
void report_end(void);
void report_text(const char *key, const char *value);
void report_number(const char *key, double value); /* NaN: null */
void report_count(const char *key, uint64_t value);
void report_bool(const char *key, bool value);
void report_null(const char *key);
void report_kib(const char *key, int64_t kib); /* negative: null */

/* CPU, rates and latencies of a measured span. */
void report_span(const struct run *run, const struct span *span);

/* The same for messages that are acknowledged when they are stored: latencies are those of the acknowledgements. */
void report_stored(const struct run *run, const struct span *span);
void report_latency(const struct histogram *latency);

/* The broker's memory now. */
void report_memory(const struct process *broker);

/* The first keys of a report about a run, and its end with lost, wrong and memory; the end returns the exit code, and
 * closes the run. Between them stand a mode's own keys, and report_span. */
void report_run_begin(const struct run *run);
int report_run_end(struct run *run);

/* Nothing but these and the span. */
int report_run(struct run *run, const struct span *span);

/* What one of count things takes of memory that grew between two sizes, as of process_status_kib, in bytes. */
void report_growth(const char *key, int64_t before_kib, int64_t after_kib, uint64_t count);

/* CPU of the broker for each of count, in us; NaN if not known. */
double broker_cpu_us_per(const struct run *run, const struct span *span, uint64_t count);
