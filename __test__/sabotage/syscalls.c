/*
 * System calls that a worker cannot make from JavaScript. The first argument names the action, which operates on the
 * descriptors from 3 on, passed by the worker. When it is done, a line is written to stdout; some actions run until the
 * process is killed. In any case the process ends after 30 seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TARGET = 3, EXTRA = 4, MOST = 253, PAGE = 4096 };

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void done(void) {
  puts("done");
  fflush(stdout);
}

static int number(char **argv, int at) {
  return argv[at] ? (int)strtol(argv[at], NULL, 0) : 0;
}

static void rest(int ms) {
  struct timespec time = {ms / 1000, (ms % 1000) * 1000000L};
  nanosleep(&time, NULL);
}

/* Parses hexadecimal digits. */
static size_t unhex(const char *text, unsigned char *bytes, size_t room) {
  size_t length = 0;
  for (; text[0] && text[1] && length < room; text += 2) {
    char digits[3] = {text[0], text[1], 0};
    bytes[length++] = (unsigned char)strtol(digits, NULL, 16);
  }
  return length;
}

static int transmit(int to, const void *bytes, size_t length, const int *fds, int count, int flags) {
  union {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * MOST)];
  } control;
  struct iovec part = {(void *)bytes, length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
  }
  return (int)sendmsg(to, &message, flags | MSG_NOSIGNAL);
}

static int listener(struct sockaddr_in *address) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
  socklen_t length = sizeof *address;
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (bind(fd, (void *)address, length) || listen(fd, 8)) fail("listening");
  getsockname(fd, (void *)address, &length);
  return fd;
}

/* A TCP connection with unsent data: its peer, which this process keeps open, never reads. */
static int unsent(int linger) {
  static char bytes[65536];
  struct sockaddr_in address;
  int at = listener(&address), one = 1;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (void *)&address, sizeof address)) fail("connecting");
  if (accept(at, NULL, NULL) < 0) fail("accepting");
  close(at);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  for (int i = 0; i < 1000 && send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0; i++) continue;
  struct linger time = {1, linger};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &time, sizeof time);
  return fd;
}

static int kind(const char *name) {
  int pair[2];
  struct sockaddr_in address;
  if (!strcmp(name, "pipe")) return pipe(pair) ? -1 : pair[0];
  if (!strcmp(name, "epoll")) return epoll_create1(0);
  if (!strcmp(name, "event")) return eventfd(0, 0);
  if (!strcmp(name, "timer")) return timerfd_create(CLOCK_MONOTONIC, 0);
  if (!strcmp(name, "inotify")) return inotify_init1(0);
  if (!strcmp(name, "memory")) return memfd_create("x", 0);
  if (!strcmp(name, "directory")) return open("/", O_RDONLY | O_DIRECTORY);
  if (!strcmp(name, "path")) return open("/", O_PATH);
  if (!strcmp(name, "null")) return open("/dev/null", O_RDWR);
  if (!strcmp(name, "udp")) return socket(AF_INET, SOCK_DGRAM, 0);
  if (!strcmp(name, "tcp")) return socket(AF_INET, SOCK_STREAM, 0);
  if (!strcmp(name, "listening")) return listener(&address);
  if (!strcmp(name, "netlink")) return socket(AF_NETLINK, SOCK_RAW, 0);
  if (!strcmp(name, "packets")) return socket(AF_UNIX, SOCK_SEQPACKET, 0);
  if (!strcmp(name, "datagrams")) return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) ? -1 : pair[0];
  if (!strcmp(name, "stream")) return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ? -1 : pair[0];
  if (!strcmp(name, "ended")) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return -1;
    close(pair[1]);
    return pair[0];
  }
  if (!strcmp(name, "target")) return TARGET;
  fprintf(stderr, "no such kind of descriptor: %s\n", name);
  exit(2);
}

/* Fills `fds` with descriptors of the named kinds, in rotation. One is opened of each kind. */
static int fill(int *fds, char *kinds, int count) {
  int known[32], many = 0;
  for (char *name = strtok(kinds, ","); name && many < 32; name = strtok(NULL, ",")) {
    int fd = kind(name);
    if (fd >= 0) known[many++] = fd;
  }
  if (many == 0) count = 0;
  for (int i = 0; i < count; i++) fds[i] = known[i % many];
  return count;
}

/* Tries to send `times` times, with a pause after a failure, until the socket is closed. */
static void send_all(int to, const unsigned char *bytes, size_t length, const int *fds, int count, int times) {
  for (int i = 0; i < times; i++) {
    if (transmit(to, bytes, length, fds, count, MSG_DONTWAIT) >= 0) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == EBADF) return;
    rest(1);
  }
}

static unsigned char flood_bytes[65536];
static size_t flood_length;

static void *flood(void *unused) {
  (void)unused;
  for (;;) {
    if (send(TARGET, flood_bytes, flood_length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) continue;
    if (errno != EAGAIN && errno != ENOBUFS) return NULL;
    struct pollfd room = {TARGET, POLLOUT, 0};
    poll(&room, 1, 10);
  }
}

/* Receives the connections meant for the worker, logs their peers as the worker would, and keeps or closes them. */
static void steal(int peek, int keep) {
  unsigned char bytes[4096];
  union {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * MOST)];
  } control;
  for (;;) {
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct pollfd something = {TARGET, POLLIN, 0};
    poll(&something, 1, 100);
    if (recvmsg(TARGET, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (peek ? MSG_PEEK : 0)) < 0) {
      if (errno != EAGAIN) return;
      continue;
    }
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      for (int i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + sizeof fd * (size_t)i, sizeof fd);
        struct sockaddr_in peer = {0};
        socklen_t length = sizeof peer;
        if (!peek && !getpeername(fd, (void *)&peer, &length) && peer.sin_family == AF_INET) {
          struct timespec now;
          char line[128], name[INET_ADDRSTRLEN];
          clock_gettime(CLOCK_MONOTONIC, &now);
          inet_ntop(AF_INET, &peer.sin_addr, name, sizeof name);
          double ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
          int size = snprintf(line, sizeof line, "%.3f connection %s\n", ms, name);
          if (write(EXTRA, line, (size_t)size) < 0) fail("noting");
        }
        if (peek || !keep) close(fd);
      }
    }
    if (peek) rest(1);
  }
}

static void garbage(int to, int times, unsigned seed) {
  static unsigned char bytes[70000];
  static const char tags[] = "CPWNFRXHK";
  int fds[40], null = open("/dev/null", O_RDWR), stream = socket(AF_UNIX, SOCK_STREAM, 0);
  srand(seed);
  for (int i = 0; i < 40; i++) fds[i] = i & 1 ? null : stream;
  for (int i = 0; i < times; i++) {
    int length = rand() % 3 ? rand() % 700 : rand() % 70000, count = rand() % 4 ? 0 : rand() % 40;
    for (int k = 0; k < length; k++) bytes[k] = (unsigned char)rand();
    if (length && rand() % 2) bytes[0] = (unsigned char)tags[rand() % 9];
    if (transmit(to, bytes, (size_t)length, fds, count, MSG_DONTWAIT) < 0) {
      if (errno == EPIPE) return;
      rest(1);
    }
  }
}

static volatile uint64_t *page(void) {
  void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, TARGET, 0);
  if (at == MAP_FAILED) fail("mapping the page");
  return at;
}

static void scribble(const char *with) {
  volatile uint64_t *words = page();
  uint64_t x = 88172645463325252ULL;
  for (uint64_t round = 0;; round++) {
    for (int i = 0; i < PAGE / 8; i++) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      words[i] = !strcmp(with, "zeroes") ? 0 : !strcmp(with, "ones") ? ~0ULL : !strcmp(with, "counting") ? round : x;
    }
    if (round % 64 == 0) rest(1);
  }
}

/* Falsifies one word of the page: keeps adding `step` to it although nothing has happened. */
static void claim(int word, int step) {
  volatile uint64_t *words = page();
  for (;; rest(1)) words[word] += (uint64_t)(int64_t)step;
}

/* Keeps up to `most` descriptors in flight, in sockets that are never read. */
static void in_flight(int most) {
  int fds[MOST], pair[2], null = open("/dev/null", O_RDWR), sent = 0;
  for (int i = 0; i < MOST; i++) fds[i] = null;
  while (sent < most && !socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) {
    while (sent < most && transmit(pair[0], "x", 1, fds, MOST, MSG_DONTWAIT) > 0) sent += MOST;
    if (errno == ETOOMANYREFS) return;
  }
}

/* Sockets that are only held by each other, in flight, and by no process: the kernel has to collect them. */
static void cycles(void) {
  for (;; rest(1)) {
    for (int i = 0; i < 50; i++) {
      int pair[2];
      if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) continue;
      transmit(pair[0], "x", 1, pair, 2, MSG_DONTWAIT);
      close(pair[0]);
      close(pair[1]);
    }
  }
}

int main(int argc, char **argv) {
  static unsigned char bytes[65536];
  int fds[MOST];
  if (argc < 2) return 2;
  const char *what = argv[1];
  /* Missing arguments are NULL. They are copied because argv is followed by the environment after its final NULL. */
  char *with[8] = {0};
  for (int i = 2; i < argc && i < 9; i++) with[i - 2] = argv[i];
  alarm(30);
  signal(SIGPIPE, SIG_IGN);
  if (strcmp(what, "outlive")) prctl(PR_SET_PDEATHSIG, SIGKILL);

  if (!strcmp(what, "shutdown")) {
    if (shutdown(TARGET, number(with, 0))) fail("shutdown");
  } else if (!strcmp(what, "option")) {
    int value = number(with, 2);
    if (setsockopt(TARGET, number(with, 0), number(with, 1), &value, sizeof value)) fail("setsockopt");
  } else if (!strcmp(what, "linger")) {
    struct linger time = {1, number(with, 0)};
    if (setsockopt(TARGET, SOL_SOCKET, SO_LINGER, &time, sizeof time)) fail("SO_LINGER");
  } else if (!strcmp(what, "flags")) {
    if (fcntl(TARGET, F_SETFL, number(with, 0))) fail("F_SETFL");
  } else if (!strcmp(what, "send")) { /* bytes, times, descriptors each, kinds */
    size_t length = unhex(with[0], bytes, sizeof bytes);
    int count = with[3] ? fill(fds, with[3], number(with, 2)) : 0;
    send_all(TARGET, bytes, length, fds, count, number(with, 1));
  } else if (!strcmp(what, "linger-sent")) { /* bytes, how many: each the last descriptor of its connection; how many others before it */
    size_t length = unhex(with[0], bytes, sizeof bytes);
    int others = fill(fds, "event", number(with, 2));
    for (int i = 0; i < number(with, 1); i++) {
      fds[others] = unsent(600);
      send_all(TARGET, bytes, length, fds, others + 1, 1);
      close(fds[others]);
    }
    done();
    pause();
  } else if (!strcmp(what, "flood") || !strcmp(what, "outlive")) { /* bytes, threads */
    flood_length = unhex(with[0], flood_bytes, sizeof flood_bytes);
    pthread_t thread;
    for (int i = number(with, 1); i > 0; i--) pthread_create(&thread, NULL, flood, NULL);
    done();
    pause();
  } else if (!strcmp(what, "garbage")) {
    garbage(TARGET, number(with, 0), (unsigned)number(with, 1));
  } else if (!strcmp(what, "scribble")) {
    done();
    scribble(with[0]);
  } else if (!strcmp(what, "claim")) {
    done();
    claim(number(with, 0), number(with, 1));
  } else if (!strcmp(what, "punch")) {
    for (int i = 0; i < 1000; i++) {
      if (fallocate(TARGET, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)) fail("fallocate");
    }
  } else if (!strcmp(what, "seal")) {
    if (!fcntl(TARGET, F_ADD_SEALS, F_SEAL_WRITE) || errno != EPERM) fail("the page could be sealed");
  } else if (!strcmp(what, "steal") || !strcmp(what, "drop") || !strcmp(what, "peek")) {
    done();
    steal(!strcmp(what, "peek"), strcmp(what, "drop") != 0);
  } else if (!strcmp(what, "in-flight")) {
    in_flight(number(with, 0));
    done();
    pause();
  } else if (!strcmp(what, "cycles")) {
    done();
    cycles();
  } else if (!strcmp(what, "stutter")) { /* process, ms stopped, ms running */
    done();
    for (;;) {
      if (kill(number(with, 0), SIGSTOP)) return 0;
      rest(number(with, 1));
      kill(number(with, 0), SIGCONT);
      rest(number(with, 2));
    }
  } else {
    fprintf(stderr, "not known: %s\n", what);
    return 2;
  }
  done();
  return 0;
}
