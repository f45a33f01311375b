/* Signals that ask the program to end are only noted, and wake whoever polls. A second one of the same kind kills. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

void signals_install(void); /* SIGINT, SIGTERM, SIGHUP; SIGPIPE is ignored from here on. Once is enough */
int signal_caught(void);    /* its number, or 0 */
int signal_wake_fd(void);   /* readable for good once one was caught */

#endif
