/* bare_metal LINE NAME COUNT [PERIOD_MS]: a device without an operating system, on a serial line to the broker.
 *
 *     socat pty,link=/tmp/uart,rawer tcp:127.0.0.1:7717 &  bare_metal /tmp/uart dev-7 5
 *     pubsub sub 'devices/#';  pubsub pub -j devices/dev-7/led true;  pubsub pub --bin devices/dev-7/firmware < image
 *
 * Measures every second and publishes each value until the broker has it, once, whatever becomes of the line or the
 * broker; switches a light; takes images that are much larger than its memory. Its UART brings up to 64 bytes at an
 * interrupt. Built of the core as two files, pubsub_core.c and pubsub_core.h. Shows: small buffers, pieces, session,
 * reconnecting. */
#include "pubsub_core.h"

#include <string.h>

/* ==== for firmware to copy: no allocation, no operating system ================================================== */

#define RING_BYTES 256u /* a power of two */
#define TICK_MS 10u
#define GREETING_MS 5000u
#define RETRY_MS 500u
#define KEEPALIVE_S 30u
#define SESSION_S 600u
#define IMAGE_MAX 1048576u /* bytes of an image */

/* What the board does for the device. */
uint32_t board_ms(void);                                   /* since it started; wraps around */
bool board_has_carrier(void);                              /* whether the line is connected */
void board_hang_up(void);                                  /* ends the connection; the line looks for another one */
size_t board_uart_write(const uint8_t *bytes, size_t len); /* returns how many of them it took */
void board_uart_resume(void);                              /* there is room in the ring again */
uint64_t board_boot(void);                                 /* a random number, another one after each reset */
uint16_t board_measure(void);
void board_light(bool on);
void board_take_image(uint32_t offset, const uint8_t *bytes, size_t len, uint32_t total);
void board_say(const char *what, const char *more);

/* ---- what the UART brought: the interrupt writes at .in, the loop reads at .out ------------------------------ */

static struct {
    volatile uint8_t bytes[RING_BYTES];
    volatile uint32_t in, out; /* bytes so far; each is changed on one side only */
} ring;

size_t uart_room(void);
void uart_interrupt(const uint8_t *bytes, size_t len); /* len: at most uart_room() */

size_t uart_room(void)
{
    return RING_BYTES - (ring.in - ring.out);
}

void uart_interrupt(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) ring.bytes[(ring.in + i) % RING_BYTES] = bytes[i];
    ring.in += (uint32_t)len;
}

static size_t ring_take(uint8_t *to, size_t room)
{
    size_t there = ring.in - ring.out, len = there < room ? there : room;
    for (size_t i = 0; i < len; i++) to[i] = ring.bytes[(ring.out + i) % RING_BYTES];
    ring.out += (uint32_t)len;
    if (len > 0) board_uart_resume();
    return len;
}

/* ---- the device ---------------------------------------------------------------------------------------------- */

enum phase { ALONE, GREETING, GREETED, ENDING };
enum { LIGHT = 1, IMAGE = 2, SUBSCRIPTIONS_COUNT = 2 }; /* sids */

struct device {
    struct pubsub_core core;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN];
    const char *name; /* a client id: 1..64 bytes */
    enum phase phase;
    uint32_t heard_ms, said_ms; /* when bytes last came and went */
    uint32_t greet_ms;          /* not to be connected before */
    uint32_t period_ms, due_ms; /* of measuring */
    uint32_t subscribed;        /* how many subscriptions were asked for on this connection */
    uint8_t value[3];           /* what was measured, as msgpack */
    bool waits, published;      /* a value waits for its acknowledgement; it was published on this connection */
    uint64_t settled_pid;       /* publishes up to this one are acknowledged */
    uint32_t settled_count;
};

/* devices/NAME/LAST */
static const char *topic_of(const struct device *device, const char *last)
{
    static char topic[PUBSUB_TOPIC_MAX + 1];
    strcpy(topic, "devices/");
    strcat(topic, device->name);
    return strcat(strcat(topic, "/"), last);
}

static void device_init(struct device *device, const char *name, uint32_t period_ms)
{
    memset(device, 0, sizeof *device);
    device->name = name;
    device->period_ms = period_ms;
    device->due_ms = device->greet_ms = board_ms();
    pubsub_core_init(&device->core, device->rx, sizeof device->rx, device->tx, sizeof device->tx);
    pubsub_core_take_pieces(&device->core, IMAGE_MAX);
}

/* A new connection. The session tells what of the old one has arrived. */
static void greet(struct device *device)
{
    const struct pubsub_core_hello hello = {.client_id = device->name,
                                            .software = "bare_metal",
                                            .keepalive_s = KEEPALIVE_S,
                                            .session_s = SESSION_S,
                                            .boot = board_boot()};
    pubsub_core_restart(&device->core, device->settled_pid + 1);
    device->phase = pubsub_core_hello(&device->core, &hello) == PUBSUB_OK ? GREETING : ENDING;
    device->heard_ms = device->said_ms = board_ms();
    device->subscribed = 0;
    device->published = false;
}

static void settle(struct device *device, uint64_t pid)
{
    if (pid <= device->settled_pid) return;
    device->settled_pid = pid;
    device->settled_count++; /* there is never more than one */
    device->waits = false;
}

static void on_message(const struct pubsub_message *message)
{
    const uint8_t *bytes = message->payload;
    if (message->sid == IMAGE) board_take_image(message->offset, bytes, message->payload_len, message->total);
    if (message->sid == LIGHT && message->total == 1) board_light(bytes[0] == 0xc3); /* msgpack's true */
}

static void on_event(struct device *device, const struct pubsub_event *event)
{
    switch (event->type) {
    case PUBSUB_EVENT_WELCOME:
        device->phase = GREETED;
        settle(device, event->as.welcome.last_pid);
        board_say("connected as", event->as.welcome.client_id);
        break;
    case PUBSUB_EVENT_PUBACK:
        if (event->as.puback.code >= 100) board_say("refused:", event->as.puback.text);
        settle(device, event->as.puback.last_pid);
        break;
    case PUBSUB_EVENT_MESSAGE: on_message(&event->as.message); break;
    case PUBSUB_EVENT_SUBACK:
        if (event->as.suback.code != 0) board_say("not subscribed:", event->as.suback.text);
        break;
    case PUBSUB_EVENT_GAP: board_say("messages were lost:", event->as.gap.reason_name); break;
    case PUBSUB_EVENT_TOO_LARGE: board_say("too large a message", "was passed over"); break;
    case PUBSUB_EVENT_REFUSAL: board_say("refused:", event->as.refusal.text); break;
    case PUBSUB_EVENT_BYE:
    case PUBSUB_EVENT_FAILED:
        board_say("the connection ends:", event->as.ending.text);
        device->phase = ENDING;
        break;
    case PUBSUB_EVENT_NONE:
    case PUBSUB_EVENT_BLOCKED:
    case PUBSUB_EVENT_MARK:
    case PUBSUB_EVENT_STAT:
    case PUBSUB_EVENT_PONG:
    case PUBSUB_EVENT_INFO: break;
    }
}

static void receive(struct device *device)
{
    struct pubsub_event event;
    size_t len;
    do {
        void *at;
        size_t room = pubsub_core_input(&device->core, &at);
        len = ring_take(at, room);
        pubsub_core_received(&device->core, len);
        if (len > 0) device->heard_ms = board_ms();
        enum pubsub_event_type type;
        while ((type = pubsub_core_next(&device->core, &event)) != PUBSUB_EVENT_NONE && type != PUBSUB_EVENT_BLOCKED)
            on_event(device, &event);
    } while (len > 0 && device->phase != ENDING);
}

static void transmit(struct device *device)
{
    const void *at;
    size_t len, taken;
    while ((len = pubsub_core_output(&device->core, &at)) > 0 && (taken = board_uart_write(at, len)) > 0) {
        pubsub_core_written(&device->core, taken);
        device->said_ms = board_ms();
    }
}

/* Asks for what this connection lacks. What does not fit into the output now is tried again at the next tick. */
static void subscribe(struct device *device)
{
    static const char *const last[] = {[LIGHT] = "led", [IMAGE] = "firmware"};
    while (device->subscribed < SUBSCRIPTIONS_COUNT) {
        uint32_t sid = device->subscribed + 1;
        if (pubsub_core_subscribe(&device->core, sid, topic_of(device, last[sid]), NULL) != PUBSUB_OK) return;
        device->subscribed++;
    }
}

static void publish(struct device *device)
{
    const struct pubsub_publish_options acknowledged = {.ack = PUBSUB_ACK_ROUTED};
    if (device->waits && !device->published)
        device->published = pubsub_core_publish(&device->core, topic_of(device, "value"), device->value,
                                                sizeof device->value, &acknowledged, NULL) == PUBSUB_OK;
}

static bool is_due(uint32_t ms)
{
    return (int32_t)(board_ms() - ms) >= 0;
}

static void measure(struct device *device)
{
    if (device->waits || !is_due(device->due_ms)) return;
    uint16_t value = board_measure();
    device->value[0] = 0xcd; /* an unsigned number of 16 bits */
    device->value[1] = (uint8_t)(value >> 8);
    device->value[2] = (uint8_t)value;
    device->waits = true;
    device->published = false;
    device->due_ms += device->period_ms;
}

static void watch_line(struct device *device)
{
    uint32_t limit_ms = device->phase == GREETING ? GREETING_MS : KEEPALIVE_S * 1500;
    if (board_ms() - device->heard_ms > limit_ms) device->phase = ENDING;
    else if (device->phase == GREETED && board_ms() - device->said_ms > KEEPALIVE_S * 500)
        pubsub_core_ping(&device->core, NULL, 0);
}

/* The connection is over: what it left in the ring is nobody's any more. */
static void be_alone(struct device *device)
{
    ring.out = ring.in;
    if (device->phase != ALONE) device->greet_ms = board_ms() + RETRY_MS;
    device->phase = ALONE;
}

/* Once every tick, and whenever an interrupt came. */
static void device_step(struct device *device)
{
    measure(device);
    if (!board_has_carrier()) {
        be_alone(device);
        return;
    }
    if (device->phase == ALONE && !is_due(device->greet_ms)) return;
    if (device->phase == ALONE) greet(device);
    receive(device);
    if (device->phase == GREETED) {
        subscribe(device);
        publish(device);
    }
    watch_line(device);
    transmit(device);
    if (device->phase == ENDING) {
        board_hang_up();
        be_alone(device);
    }
}

/* ==== the board, as a program: the line is a terminal (or a pty), its interrupt is a signal ===================== */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define UART_BYTES 64 /* at one interrupt, and of its way out */

static const char *line_path;
static int line = -1;
static volatile sig_atomic_t stalled; /* bytes wait for room in the ring */
static uint32_t image_sum;

/* Until nothing is there or the ring is full: then the line waits, as by RTS and CTS. */
static void on_interrupt(int signal)
{
    uint8_t bytes[UART_BYTES];
    ssize_t len = 1;
    int error = errno;
    (void)signal;
    while (line >= 0 && len > 0) {
        size_t room = uart_room();
        stalled = room == 0;
        if (room == 0) break;
        len = read(line, bytes, room < sizeof bytes ? room : sizeof bytes);
        if (len > 0) uart_interrupt(bytes, (size_t)len);
    }
    errno = error;
}

static void interrupts(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(how, &set, NULL);
}

void board_uart_resume(void)
{
    if (stalled) raise(SIGIO);
}

void board_hang_up(void)
{
    interrupts(SIG_BLOCK);
    if (line >= 0) {
        tcdrain(line);
        close(line);
    }
    line = -1;
    interrupts(SIG_UNBLOCK);
}

static void pick_up(void)
{
    struct termios mode;
    int fd = open(line_path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (tcgetattr(fd, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(fd, TCSANOW, &mode);
    }
    line = fd;
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
    raise(SIGIO); /* for what came before */
}

bool board_has_carrier(void)
{
    struct pollfd poll_line = {.fd = line, .events = POLLIN};
    if (line < 0) pick_up();
    else if (poll(&poll_line, 1, 0) == 1 && poll_line.revents & (POLLHUP | POLLERR)) board_hang_up();
    return line >= 0;
}

size_t board_uart_write(const uint8_t *bytes, size_t len)
{
    ssize_t taken = write(line, bytes, len < UART_BYTES ? len : UART_BYTES);
    return taken > 0 ? (size_t)taken : 0;
}

uint32_t board_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

uint64_t board_boot(void)
{
    static uint64_t boot;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (boot == 0) boot = ((uint64_t)now.tv_sec << 22 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 12) >> 11 | 1;
    return boot;
}

uint16_t board_measure(void)
{
    static uint16_t value;
    return ++value;
}

void board_light(bool on)
{
    printf("the light is %s\n", on ? "on" : "off");
}

void board_take_image(uint32_t offset, const uint8_t *bytes, size_t len, uint32_t total)
{
    if (offset == 0) image_sum = 0;
    for (size_t i = 0; i < len; i++) image_sum = image_sum * 31 + bytes[i];
    if (offset + len == total) printf("an image of %u bytes, sum %u\n", (unsigned)total, (unsigned)image_sum);
}

void board_say(const char *what, const char *more)
{
    fprintf(stderr, "bare_metal: %s %s\n", what, more);
}

/* Until an interrupt, or the next tick. */
static void board_sleep(void)
{
    nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
}

static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && len <= 64 && name[len] == '\0';
}

int main(int argc, char **argv)
{
    static struct device device;
    unsigned long count = argc > 3 ? strtoul(argv[3], NULL, 10) : 0,
                  period = argc > 4 ? strtoul(argv[4], NULL, 10) : 1000;
    if (argc < 4 || argc > 5 || !is_name(argv[2]) || count == 0 || count > UINT16_MAX || period > 3600000) {
        fprintf(stderr, "usage: bare_metal LINE NAME COUNT [PERIOD_MS]\n");
        return 2;
    }
    line_path = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGIO, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = SA_RESTART}, NULL);
    device_init(&device, argv[2], (uint32_t)period);
    while (device.settled_count < count) { /* firmware does it for ever */
        device_step(&device);
        board_sleep();
    }
    pubsub_core_bye(&device.core, 0);
    transmit(&device);
    board_hang_up();
    printf("%lu values were published\n", count);
    return 0;
}
