/*
 * A C-ECHO SCP that costs as little as one can: the bound that no client can pass (benchmarks/sweep.py).
 *
 *     echo_responder FIRST_PORT PORTS
 *
 * One epoll loop. Listens on PORTS consecutive ports of every IPv4 address, accepts every presentation
 * context with the default transfer syntax, answers C-ECHO with success and a release with a release.
 * Prints "ready" when it listens. Requests are believed; it is a measuring tool for loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_BYTES = 18000, OUTPUT_BYTES = 4096, EVENTS = 256, HEADER_BYTES = 6 };
enum { ASSOCIATE_RQ = 1, ASSOCIATE_AC = 2, P_DATA = 4, RELEASE_RQ = 5, RELEASE_RP = 6 }; /* PS3.8 9.3 */

struct peer {
    int fd;
    int listens;
    size_t held;
    uint8_t *input;
};

struct output {
    uint8_t bytes[OUTPUT_BYTES];
    size_t length;
};

static uint32_t read_be32(const uint8_t *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }
static uint16_t read_be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put(struct output *out, const void *bytes, size_t length)
{
    if (out->length + length <= OUTPUT_BYTES) {
        memcpy(out->bytes + out->length, bytes, length);
        out->length += length;
    }
}

static void put_be32(struct output *out, uint32_t value)
{
    uint32_t ordered = htonl(value);
    put(out, &ordered, 4);
}

static void put_item(struct output *out, uint8_t type, const void *value, uint16_t length)
{
    uint8_t head[4] = {type, 0, (uint8_t)(length >> 8), (uint8_t)length};
    put(out, head, 4);
    put(out, value, length);
}

static void put_le_element(struct output *out, uint16_t element, const void *value, uint32_t length)
{
    uint8_t head[8] = {0, 0, (uint8_t)element, (uint8_t)(element >> 8), (uint8_t)length, 0, 0, 0};
    put(out, head, 8);
    put(out, value, length);
}

static void close_pdu(struct output *out, size_t start, uint8_t type)
{
    uint32_t length = htonl((uint32_t)(out->length - start - HEADER_BYTES));
    out->bytes[start] = type;
    out->bytes[start + 1] = 0;
    memcpy(out->bytes + start + 2, &length, 4);
}

/* PS3.8 9.3.3: titles back as they came, a result for each context, who we are. */
static void accept_association(struct output *out, const uint8_t *pdu, size_t length)
{
    static const char name[] = "1.2.840.10008.3.1.1.1", implicit[] = "1.2.840.10008.1.2";
    static const char uid[] = "1.2.276.0.7230010.3.0.3.6.7", version[] = "BENCH_1";
    size_t start = out->length, at = HEADER_BYTES + 68;

    put(out, pdu, HEADER_BYTES + 68);
    put_item(out, 0x10, name, sizeof name - 1);
    while (at + 8 <= length) {
        if (pdu[at] == 0x20) {
            struct output context = {.length = 0};
            uint8_t head[4] = {pdu[at + 4], 0, 0, 0};
            put(&context, head, 4);
            put_item(&context, 0x40, implicit, sizeof implicit - 1);
            put_item(out, 0x21, context.bytes, (uint16_t)context.length);
        }
        at += 4u + read_be16(pdu + at + 2);
    }
    struct output user = {.length = 0};
    static const uint8_t maximum[4] = {0, 0, 0x40, 0};
    put_item(&user, 0x51, maximum, 4);
    put_item(&user, 0x52, uid, sizeof uid - 1);
    put_item(&user, 0x55, version, sizeof version - 1);
    put_item(out, 0x50, user.bytes, (uint16_t)user.length);
    close_pdu(out, start, ASSOCIATE_AC);
}

/* PS3.7 9.3.5.2; the message id stands in element (0000,0110) of the request. */
static void answer_echo(struct output *out, const uint8_t *pdu, size_t length)
{
    static const char verification[18] = "1.2.840.10008.1.1"; /* padded to an even length by its NUL */
    static const uint8_t field[2] = {0x30, 0x80}, no_data[2] = {0x01, 0x01}, success[2] = {0, 0};
    uint8_t message[2] = {1, 0};
    size_t start = out->length, at = HEADER_BYTES + 6;

    while (at + 10 <= length) {
        if (pdu[at] == 0 && pdu[at + 2] == 0x10 && pdu[at + 3] == 0x01)
            memcpy(message, pdu + at + 8, 2);
        at += 8u + (pdu[at + 4] | (uint32_t)pdu[at + 5] << 8);
    }
    struct output body = {.length = 0}, command = {.length = 0};
    put_le_element(&body, 0x0002, verification, sizeof verification);
    put_le_element(&body, 0x0100, field, 2);
    put_le_element(&body, 0x0120, message, 2);
    put_le_element(&body, 0x0800, no_data, 2);
    put_le_element(&body, 0x0900, success, 2);
    uint8_t group[4] = {(uint8_t)body.length, 0, 0, 0};
    put_le_element(&command, 0x0000, group, 4);
    put(&command, body.bytes, body.length);

    out->length += HEADER_BYTES;
    put_be32(out, (uint32_t)command.length + 2);
    uint8_t head[2] = {pdu[HEADER_BYTES + 4], 0x03}; /* the last fragment of a command, PS3.8 E.2 */
    put(out, head, 2);
    put(out, command.bytes, command.length);
    close_pdu(out, start, P_DATA);
}

/* Answer one PDU; 0 when the peer is to be let go. */
static int answer(struct output *out, const uint8_t *pdu, size_t length)
{
    static const uint8_t released[10] = {RELEASE_RP, 0, 0, 0, 0, 4};
    switch (pdu[0]) {
    case ASSOCIATE_RQ: accept_association(out, pdu, length); return 1;
    case P_DATA: answer_echo(out, pdu, length); return 1;
    case RELEASE_RQ: put(out, released, sizeof released); return 1;
    default: return 0;
    }
}

static int serve(struct peer *peer)
{
    ssize_t came = read(peer->fd, peer->input + peer->held, INPUT_BYTES - peer->held);
    if (came <= 0)
        return 0;
    peer->held += (size_t)came;
    struct output out = {.length = 0};
    size_t done = 0;
    while (peer->held - done >= HEADER_BYTES) {
        size_t whole = (size_t)read_be32(peer->input + done + 2) + HEADER_BYTES;
        if (whole > INPUT_BYTES)
            return 0;
        if (peer->held - done < whole)
            break;
        if (!answer(&out, peer->input + done, whole))
            return 0;
        done += whole;
    }
    memmove(peer->input, peer->input + done, peer->held - done);
    peer->held -= done;
    return out.length == 0 || write(peer->fd, out.bytes, out.length) == (ssize_t)out.length;
}

static void watch(int epoll, int fd, int listens)
{
    struct peer *peer = malloc(sizeof *peer);
    *peer = (struct peer){.fd = fd, .listens = listens, .input = listens ? NULL : malloc(INPUT_BYTES)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void welcome(int epoll, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(epoll, fd, 0);
    }
}

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&place, sizeof place) < 0 || listen(fd, 4096) < 0) {
        perror("echo_responder");
        exit(1);
    }
    return fd;
}

int main(int count, char **words)
{
    if (count != 3) {
        fputs("usage: echo_responder FIRST_PORT PORTS\n", stderr);
        return 64;
    }
    int epoll = epoll_create1(0), first = atoi(words[1]), ports = atoi(words[2]);
    for (int number = 0; number < ports; number++)
        watch(epoll, listen_on(first + number), 1);
    puts("ready");
    fflush(stdout);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int number = 0; number < ready; number++) {
            struct peer *peer = events[number].data.ptr;
            if (peer->listens) {
                welcome(epoll, peer->fd);
            } else if (!serve(peer)) {
                close(peer->fd);
                free(peer->input);
                free(peer);
            }
        }
    }
}
