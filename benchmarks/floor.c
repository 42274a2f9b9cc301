/* The floor: a star of N hosts made as cheaply as this kernel can make it, with nothing around it.
 *
 *     floor N
 *
 * Makes the kernel objects of a wanlab star: N + 1 network namespaces, each held by a bind mount; a bridge in the
 * switch's; per host a veth pair born in its two namespaces, its port enslaved and up, eth0 and lo up, one address.
 * Prints {"up_s": SECONDS} and holds the star until standard input ends; then it takes everything down by exiting.
 * All of it lives in user, PID, mount and network namespaces of its own: the machine's network is never touched.
 *
 * Why it is fast: one RTM_NEWLINK makes and places a whole cable, its port enslaved and up; what a host needs goes
 * in one datagram; nothing asks for an acknowledgement. A request is carried out before sendto returns, and the kernel
 * answers a failed one whether asked to or not (netlink_rcv_skb), so an empty receive queue means that all went well.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Indices of our choosing, above those of the tunnels that some kernels put into every new namespace. */
enum { LOOPBACK = 1, BRIDGE = 1000, HOST_END = 1000, FIRST_PORT = 1001 };
enum { MOST_HOSTS = 1023 }; /* BR_MAX_PORTS - 1 */
enum { PREFIX_LENGTH = 16 };
#define FIRST_ADDRESS 0x0a000001u /* 10.0.0.1 */

struct request {
    char bytes[1024];
    size_t length;
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

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

/* ---- netlink messages ---- */

static void *reserve(struct request *r, size_t size)
{
    void *place = r->bytes + r->length;
    r->length += NLMSG_ALIGN(size);
    if (r->length > sizeof r->bytes) {
        fputs("floor: request too long\n", stderr);
        exit(1);
    }
    return place;
}

static struct nlmsghdr *begin(struct request *r, unsigned short type, unsigned short flags)
{
    struct nlmsghdr *header = reserve(r, sizeof *header);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    return header;
}

static void end(struct request *r, struct nlmsghdr *header)
{
    header->nlmsg_len = (unsigned)(r->bytes + r->length - (char *)header);
}

static struct rtattr *nest(struct request *r, unsigned short type)
{
    struct rtattr *attribute = reserve(r, sizeof *attribute);
    attribute->rta_type = type;
    return attribute;
}

static void close_nest(struct request *r, struct rtattr *attribute)
{
    attribute->rta_len = (unsigned short)(r->bytes + r->length - (char *)attribute);
}

static void put(struct request *r, unsigned short type, const void *data, size_t size)
{
    struct rtattr *attribute = nest(r, type);
    memcpy(reserve(r, size), data, size);
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
}

static void put_u32(struct request *r, unsigned short type, unsigned value)
{
    put(r, type, &value, sizeof value);
}

static void put_text(struct request *r, unsigned short type, const char *text)
{
    put(r, type, text, strlen(text) + 1);
}

static void put_link(struct request *r, int index, unsigned flags)
{
    struct ifinfomsg *link = reserve(r, sizeof *link);
    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = flags;
}

static void put_set_up(struct request *r, int index)
{
    struct nlmsghdr *header = begin(r, RTM_NEWLINK, 0);
    put_link(r, index, IFF_UP);
    end(r, header);
}

static void send_request(int netlink, const struct request *r)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(netlink, r->bytes, r->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        die("netlink");
}

static void check_no_errors(int netlink, const char *what)
{
    char answer[8192];
    if (recv(netlink, answer, sizeof answer, MSG_DONTWAIT) > 0) {
        struct nlmsgerr *error = NLMSG_DATA((struct nlmsghdr *)answer);
        errno = -error->error;
        die(what);
    }
    if (errno != EAGAIN)
        die(what);
}

/* ---- the star ---- */

/* Enter a new namespace held by the bind mount `name`; return a netlink socket in it. */
static int make_namespace(const char *name)
{
    if (unshare(CLONE_NEWNET))
        die("unshare");
    int file = open(name, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0600);
    if (file < 0 || mount("/proc/self/ns/net", name, NULL, MS_BIND, NULL))
        die(name);
    close(file);
    write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0)
        die("socket");
    return netlink;
}

static void add_bridge(int netlink)
{
    static const unsigned char mac[6] = {0x02, 0, 0, 0, 0, 1}; /* not given, each port that joins changes it */
    struct request r = {.length = 0};
    put_set_up(&r, LOOPBACK);

    struct nlmsghdr *header = begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    put_link(&r, BRIDGE, 0); /* raised last: a port that joins a bridge that is down costs less */
    put_text(&r, IFLA_IFNAME, "br0");
    put(&r, IFLA_ADDRESS, mac, sizeof mac);
    struct rtattr *info = nest(&r, IFLA_LINKINFO);
    put_text(&r, IFLA_INFO_KIND, "bridge");
    close_nest(&r, info);
    end(&r, header);
    send_request(netlink, &r);
    check_no_errors(netlink, "bridge");
}

static void raise_bridge(int netlink)
{
    struct request r = {.length = 0};
    put_set_up(&r, BRIDGE);
    send_request(netlink, &r);
    check_no_errors(netlink, "bridge");
}

/* One request: the port here, up and in the bridge; eth0 in the host's namespace. */
static void add_cable(int switch_netlink, int host, int host_namespace)
{
    char port[IFNAMSIZ];
    snprintf(port, sizeof port, "h%d", host);
    struct request r = {.length = 0};
    struct nlmsghdr *header = begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    put_link(&r, FIRST_PORT + host, IFF_UP);
    put_text(&r, IFLA_IFNAME, port);
    put_u32(&r, IFLA_MASTER, BRIDGE);
    struct rtattr *info = nest(&r, IFLA_LINKINFO);
    put_text(&r, IFLA_INFO_KIND, "veth");
    struct rtattr *data = nest(&r, IFLA_INFO_DATA);
    struct rtattr *peer = nest(&r, VETH_INFO_PEER);
    put_link(&r, HOST_END, 0); /* not up yet: while it is made it has no peer (veth_open, ENOTCONN) */
    put_text(&r, IFLA_IFNAME, "eth0");
    put_u32(&r, IFLA_NET_NS_FD, (unsigned)host_namespace);
    close_nest(&r, peer);
    close_nest(&r, data);
    close_nest(&r, info);
    end(&r, header);
    send_request(switch_netlink, &r);
    check_no_errors(switch_netlink, port);
}

static void configure_host(int netlink, int host)
{
    unsigned address = htonl(FIRST_ADDRESS + (unsigned)host);
    struct request r = {.length = 0};
    put_set_up(&r, LOOPBACK);
    put_set_up(&r, HOST_END);

    struct nlmsghdr *header = begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = reserve(&r, sizeof *message);
    message->ifa_family = AF_INET;
    message->ifa_prefixlen = PREFIX_LENGTH;
    message->ifa_index = HOST_END;
    put(&r, IFA_LOCAL, &address, sizeof address);
    put(&r, IFA_ADDRESS, &address, sizeof address);
    end(&r, header);
    send_request(netlink, &r);
    check_no_errors(netlink, "address");
}

static void make_star(int hosts)
{
    int switch_netlink = make_namespace("switch");
    add_bridge(switch_netlink);
    for (int host = 0; host < hosts; host++) {
        char name[IFNAMSIZ];
        snprintf(name, sizeof name, "h%d", host);
        int netlink = make_namespace(name);
        int namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (namespace < 0)
            die(name);
        add_cable(switch_netlink, host, namespace);
        configure_host(netlink, host);
        close(namespace);
        close(netlink);
    }
    raise_bridge(switch_netlink);
    close(switch_netlink);
}

/* ---- the process that holds it ---- */

static pid_t fork_into_new_namespaces(void)
{
    unsigned long flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | SIGCHLD;
    return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

static void map_to_root(uid_t uid, gid_t gid)
{
    char map[32];
    snprintf(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    write_file("/proc/self/setgroups", "deny"); /* user_namespaces(7): or an unprivileged gid_map is refused */
    snprintf(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
}

static void hold_star(int hosts, double start)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("tmpfs", "/tmp", "tmpfs", 0, NULL) || chdir("/tmp"))
        die("mount");
    make_star(hosts);
    printf("{\"up_s\": %.6f}\n", now() - start);
    fflush(stdout);
    char unused;
    while (read(STDIN_FILENO, &unused, 1) > 0)
        ;
}

int main(int argc, char **argv)
{
    double start = now();
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int hosts = argc == 2 ? atoi(argv[1]) : 0;
    if (hosts < 1 || hosts > MOST_HOSTS) {
        fprintf(stderr, "usage: floor N, with N from 1 to %d\n", MOST_HOSTS);
        return 2;
    }
    pid_t child = fork_into_new_namespaces();
    if (child < 0)
        die("clone");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        map_to_root(uid, gid);
        hold_star(hosts, start);
        return 0;
    }
    int status;
    if (waitpid(child, &status, 0) < 0)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
