/* Load for a path, and its end.
 *
 *     blast sink   tcp|udp PORT                   prints "ready", takes one load, then prints
 *                                                 {"bytes", "packets", "seconds", "last"}
 *     blast source tcp|udp ADDRESS PORT SECONDS   sends as fast as the path takes it
 *     blast source flows ADDRESS PORT COUNT       sends so many UDP datagrams, each from a port of its own (needs a raw
 *                                                 socket), and prints {"start"}
 *
 * TCP measures throughput; UDP, with the least payload, the rate of packets. Both count what arrives, from the first
 * byte to the last. A load of flows is short, so it counts from its start to the last arrival, both by the system's
 * monotonic clock. Source and sink keep to the first and the last processor, so that two paths are measured alike.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, PAYLOAD = 18 };    /* 18 bytes of UDP fill the least Ethernet frame */
enum { CHUNK = 128 * 1024 };          /* TCP: enough that system calls do not count */
enum { RECEIVE_BUFFER = 4 << 20 };    /* UDP: a wish; net.core.rmem_max has the last word */
enum { GOODBYE = 1, GOODBYES = 1000 }; /* datagrams of one byte end a UDP load; they stop once the sink has gone */
enum { GOODBYE_INTERVAL_US = 10000 }; /* time for the sink to drain its queue */
enum { FIRST_PORT = 1024 };           /* of a load of flows */
enum { LIFETIME_S = 60 };             /* a sink whose source never comes must not stay for ever */

struct load {
    unsigned long long bytes, packets;
    double first, last;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void keep_to(int processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    sched_setaffinity(0, sizeof set, &set); /* refused in some containers: both paths are then alike in that */
}

static void arrived(struct load *load, size_t bytes, size_t packets)
{
    load->last = now();
    if (load->packets == 0)
        load->first = load->last;
    load->bytes += bytes;
    load->packets += packets;
}

static struct sockaddr_in endpoint(const char *address, const char *port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, address, &where.sin_addr) != 1) {
        fprintf(stderr, "blast: not an IPv4 address: %s\n", address);
        exit(2);
    }
    return where;
}

static int open_socket(int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, type == SOCK_RAW ? IPPROTO_UDP : 0);
    if (fd < 0)
        die("socket");
    return fd;
}

static void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

/* ---- TCP ---- */

static struct load sink_tcp(struct sockaddr_in where)
{
    static char buffer[CHUNK];
    struct load load = {0};
    int on = 1, listener = open_socket(SOCK_STREAM);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&where, sizeof where) || listen(listener, 1))
        die("bind");
    say_ready();
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
        arrived(&load, (size_t)got, 1);
    return load;
}

static void source_tcp(struct sockaddr_in where, double seconds)
{
    static const char buffer[CHUNK];
    int fd = open_socket(SOCK_STREAM);
    if (connect(fd, (struct sockaddr *)&where, sizeof where))
        die("connect");
    for (double stop = now() + seconds; now() < stop;)
        if (write(fd, buffer, sizeof buffer) < 0)
            die("write");
}

/* ---- UDP ---- */

static void prepare_batch(struct mmsghdr *batch, struct iovec *pieces, char *payload)
{
    memset(batch, 0, BATCH * sizeof *batch);
    for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){.iov_base = payload, .iov_len = PAYLOAD};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
}

static struct load sink_udp(struct sockaddr_in where)
{
    struct mmsghdr batch[BATCH];
    struct iovec pieces[BATCH];
    char payload[PAYLOAD];
    struct load load = {0};
    int size = RECEIVE_BUFFER, fd = open_socket(SOCK_DGRAM);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&where, sizeof where))
        die("bind");
    prepare_batch(batch, pieces, payload);
    say_ready();
    for (;;) {
        int got = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
        if (got < 0)
            die("recvmmsg");
        size_t packets = 0;
        for (int i = 0; i < got; i++)
            packets += batch[i].msg_len != GOODBYE;
        if (packets)
            arrived(&load, packets * PAYLOAD, packets);
        if (batch[got - 1].msg_len == GOODBYE)
            return load;
    }
}

static void say_goodbye(int fd)
{
    char payload = 0;
    for (int i = 0; i < GOODBYES; i++) {
        usleep(GOODBYE_INTERVAL_US);
        if (send(fd, &payload, GOODBYE, 0) < 0)
            return; /* ECONNREFUSED: the sink has heard it and gone */
    }
}

static int connected(struct sockaddr_in where)
{
    int fd = open_socket(SOCK_DGRAM);
    if (connect(fd, (struct sockaddr *)&where, sizeof where))
        die("connect");
    return fd;
}

static void source_udp(struct sockaddr_in where, double seconds)
{
    struct mmsghdr batch[BATCH];
    struct iovec pieces[BATCH];
    char payload[PAYLOAD] = {0};
    int fd = connected(where);
    prepare_batch(batch, pieces, payload);
    for (double stop = now() + seconds; now() < stop;)
        if (sendmmsg(fd, batch, BATCH, 0) < 0)
            die("sendmmsg");
    say_goodbye(fd);
}

/* ---- UDP, each datagram a flow of its own ---- */

struct datagram {
    struct udphdr header;
    char payload[PAYLOAD];
};

/* The checksum of a datagram with no payload but zeroes. */
static unsigned short checksum(const struct udphdr *header, struct in_addr from, struct in_addr to)
{
    unsigned sum = htons(IPPROTO_UDP) + 2u * header->len + header->source + header->dest;
    sum += (from.s_addr & 0xffff) + (from.s_addr >> 16) + (to.s_addr & 0xffff) + (to.s_addr >> 16);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff ? 0xffff : (unsigned short)~sum; /* 0 would mean: none */
}

static double source_flows(struct sockaddr_in where, int count)
{
    static struct datagram datagrams[BATCH];
    struct mmsghdr batch[BATCH] = {0};
    struct iovec pieces[BATCH];
    struct sockaddr_in raw = {.sin_family = AF_INET, .sin_addr = where.sin_addr}, own;
    socklen_t size = sizeof own;
    int goodbye = connected(where), fd = open_socket(SOCK_RAW);
    for (int i = 0; i < BATCH; i++) {
        datagrams[i].header = (struct udphdr){.dest = where.sin_port, .len = htons(sizeof datagrams[i])};
        pieces[i] = (struct iovec){.iov_base = &datagrams[i], .iov_len = sizeof datagrams[i]};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
        batch[i].msg_hdr.msg_name = &raw;
        batch[i].msg_hdr.msg_namelen = sizeof raw;
    }
    if (getsockname(goodbye, (struct sockaddr *)&own, &size))
        die("getsockname");
    double start = now();
    for (int sent = 0; sent < count;) {
        int wanted = count - sent < BATCH ? count - sent : BATCH;
        for (int i = 0; i < wanted; i++) {
            struct udphdr *header = &datagrams[i].header;
            header->source = htons((unsigned short)(FIRST_PORT + sent + i));
            header->check = checksum(header, own.sin_addr, where.sin_addr);
        }
        int done = sendmmsg(fd, batch, (unsigned)wanted, 0);
        if (done < 0)
            die("sendmmsg");
        sent += done;
    }
    say_goodbye(goodbye);
    return start;
}

int main(int argc, char **argv)
{
    alarm(LIFETIME_S);
    int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int udp = argc > 2 && strcmp(argv[2], "udp") == 0;
    if (argc == 4 && strcmp(argv[1], "sink") == 0) {
        keep_to(processors - 1);
        struct sockaddr_in where = endpoint("0.0.0.0", argv[3]);
        struct load load = udp ? sink_udp(where) : sink_tcp(where);
        printf("{\"bytes\": %llu, \"packets\": %llu, \"seconds\": %.6f, \"last\": %.6f}\n", load.bytes,
               load.packets, load.last - load.first, load.last);
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "source") == 0) {
        keep_to(0);
        struct sockaddr_in where = endpoint(argv[3], argv[4]);
        if (strcmp(argv[2], "flows") == 0) {
            printf("{\"start\": %.6f}\n", source_flows(where, atoi(argv[5])));
            return 0;
        }
        (udp ? source_udp : source_tcp)(where, atof(argv[5]));
        return 0;
    }
    fputs("usage: blast sink tcp|udp PORT\n       blast source tcp|udp ADDRESS PORT SECONDS\n"
          "       blast source flows ADDRESS PORT COUNT\n",
          stderr);
    return 2;
}
