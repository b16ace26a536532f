/*
 * A C-ECHO SCU that does the least one can do: the floor for a client (benchmarks/sweep.py).
 *
 *     echo_client DIALOGUES IN_FLIGHT FIRST_PORT PORTS
 *
 * One epoll loop, prepared bytes: connect, A-ASSOCIATE-RQ, C-ECHO-RQ, A-RELEASE-RQ, close. Knows no
 * deadline and no error but "failed". Prints dialogues a second as its only line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_BYTES = 2048, EVENTS = 256, HEADER_BYTES = 6, PATIENCE_MS = 5000 };

struct dialogue {
    int fd;
    int connected;
    size_t held;
    uint8_t input[INPUT_BYTES];
};

struct work {
    int epoll, dialogues, first_port, ports;
    int started, ended, good;
    uint8_t request[512];
    size_t request_length;
};

/* A C-ECHO-RQ on context 1 as message 1 (PS3.7 9.3.5.1), and an A-RELEASE-RQ (PS3.8 9.3.6). */
static const uint8_t ECHO[] =
    "\x04\0\0\0\0\x4a\0\0\0\x46\x01\x03"
    "\0\0\0\0\x04\0\0\0\x38\0\0\0"
    "\0\0\x02\0\x12\0\0\0" "1.2.840.10008.1.1\0"
    "\0\0\0\x01\x02\0\0\0\x30\0"
    "\0\0\x10\x01\x02\0\0\0\x01\0"
    "\0\0\0\x08\x02\0\0\0\x01\x01";
static const uint8_t RELEASE[10] = {5, 0, 0, 0, 0, 4};

static size_t put_item(uint8_t *at, uint8_t type, const void *value, size_t length)
{
    at[0] = type;
    at[1] = 0;
    at[2] = (uint8_t)(length >> 8);
    at[3] = (uint8_t)length;
    memcpy(at + 4, value, length);
    return length + 4;
}

static void prepare(struct work *work)
{
    uint8_t context[128] = {1, 0, 0, 0}, user[128], *out = work->request;
    size_t length = 4, told = 0, at = HEADER_BYTES;
    static const uint8_t maximum[4] = {0, 0, 0x40, 0};

    memset(out, 0, sizeof work->request);
    out[7] = 1; /* protocol version 1 */
    memcpy(out + 10, "ANY-SCP         BENCH           ", 32);
    at += 68;
    at += put_item(out + at, 0x10, "1.2.840.10008.3.1.1.1", 21);
    length += put_item(context + length, 0x30, "1.2.840.10008.1.1", 17);
    length += put_item(context + length, 0x40, "1.2.840.10008.1.2", 17);
    at += put_item(out + at, 0x20, context, length);
    told += put_item(user, 0x51, maximum, 4);
    told += put_item(user + told, 0x52, "1.2.3.4", 7);
    at += put_item(out + at, 0x50, user, told);
    out[0] = 1;
    out[4] = (uint8_t)((at - HEADER_BYTES) >> 8);
    out[5] = (uint8_t)(at - HEADER_BYTES);
    work->request_length = at;
}

static void start(struct work *work)
{
    struct dialogue *dialogue = malloc(sizeof *dialogue);
    struct sockaddr_in place = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)(work->first_port + work->started % work->ports)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(work->started % 60000)),
    };
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = dialogue};

    dialogue->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    dialogue->connected = 0;
    dialogue->held = 0;
    work->started++;
    connect(dialogue->fd, (struct sockaddr *)&place, sizeof place);
    epoll_ctl(work->epoll, EPOLL_CTL_ADD, dialogue->fd, &event);
}

static int say(struct dialogue *dialogue, const uint8_t *bytes, size_t length)
{
    return write(dialogue->fd, bytes, length) == (ssize_t)length;
}

/* 1 go on, 0 over and well, -1 over and failed. */
static int step(struct work *work, struct dialogue *dialogue)
{
    if (!dialogue->connected) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = dialogue};
        dialogue->connected = 1;
        epoll_ctl(work->epoll, EPOLL_CTL_MOD, dialogue->fd, &event);
        return say(dialogue, work->request, work->request_length) ? 1 : -1;
    }
    ssize_t came = read(dialogue->fd, dialogue->input + dialogue->held, INPUT_BYTES - dialogue->held);
    if (came <= 0)
        return -1;
    dialogue->held += (size_t)came;
    if (dialogue->held < HEADER_BYTES)
        return 1;
    const uint8_t *in = dialogue->input;
    uint32_t length = (uint32_t)in[2] << 24 | in[3] << 16 | in[4] << 8 | in[5];
    if (dialogue->held < length + HEADER_BYTES)
        return 1;
    dialogue->held = 0;
    switch (in[0]) {
    case 2: return say(dialogue, ECHO, sizeof ECHO - 1) ? 1 : -1;
    case 4: return say(dialogue, RELEASE, sizeof RELEASE) ? 1 : -1;
    case 6: return 0;
    default: return -1;
    }
}

static void end(struct work *work, struct dialogue *dialogue, int good)
{
    close(dialogue->fd);
    free(dialogue);
    work->ended++;
    work->good += good;
    if (work->started < work->dialogues)
        start(work);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    if (count != 5) {
        fputs("usage: echo_client DIALOGUES IN_FLIGHT FIRST_PORT PORTS\n", stderr);
        return 64;
    }
    struct work work = {.epoll = epoll_create1(0), .dialogues = atoi(words[1]),
                        .first_port = atoi(words[3]), .ports = atoi(words[4])};
    struct epoll_event events[EVENTS];
    double began = now_s();
    prepare(&work);
    while (work.started < work.dialogues && work.started < atoi(words[2]))
        start(&work);
    while (work.ended < work.dialogues) {
        int ready = epoll_wait(work.epoll, events, EVENTS, PATIENCE_MS);
        if (ready <= 0)
            break;
        for (int number = 0; number < ready; number++) {
            struct dialogue *dialogue = events[number].data.ptr;
            int verdict = step(&work, dialogue);
            if (verdict <= 0)
                end(&work, dialogue, verdict == 0);
        }
    }
    printf("%.0f\n", work.dialogues / (now_s() - began));
    return work.good == work.dialogues ? 0 : 1;
}
