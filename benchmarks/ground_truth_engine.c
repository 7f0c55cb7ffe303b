/* A ground-truth engine: answers OpenAI streaming requests on schedule and logs the true times.
 *
 * One thread, one epoll, no allocation per token. For every request it logs when the kernel
 * received its first byte (SO_TIMESTAMPNS) and, for every token, CLOCK_MONOTONIC right before and
 * right after the write that put it on the wire. The request's number is in the "id" of every
 * event, so a client's view of a request is matched with the truth exactly. Truth is what it did,
 * not what it was asked to do.
 *
 *   cc -O2 -o engine ground_truth_engine.c
 *   ./engine --ttft-us 50000 --itl-us 20000 --truth FILE [--cpu N] [--tokens N]
 *
 * It prints its port, serves until SIGTERM, and then writes FILE, little-endian int64 throughout:
 *   per request: number, first_byte_ns, complete_ns, tokens, in_flight, connection,
 *                then tokens x (before_ns, after_ns)
 *   and after all of them: -1, cpu_ns.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 65536
#define MOST_REQUEST_BYTES (1 << 20)

typedef struct {
  int64_t number, first_byte_ns, complete_ns, tokens, in_flight, connection, *written;
} Truth;

typedef struct {
  int fd, heap_at; /* heap_at < 0: nothing is due */
  int64_t connection, due_ns;
  char *in, *out;
  size_t in_length, in_room, out_length, out_room;
  int64_t first_byte_ns;
  long truth; /* the request that is being answered, or -1 */
  int chat, usage, tokens, sent;
} Connection;

static Connection *connections[MOST_CONNECTIONS];
static Connection *heap[MOST_CONNECTIONS];
static int heap_length;
static Truth *truths;
static long truth_count, truth_room;
static int64_t in_flight, connection_count;
static int64_t ttft_ns = 50000000, itl_ns = 20000000;
static int forced_tokens, poller;
static volatile sig_atomic_t stopping;

static int64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Wall clock minus monotonic clock, from the tightest of three readings. */
static int64_t wall_offset_ns(void) {
  int64_t best_gap = INT64_MAX, best = 0;
  for (int i = 0; i < 3; i++) {
    int64_t before = monotonic_ns(), wall = clock_ns(CLOCK_REALTIME), gap = monotonic_ns() - before;
    if (gap < best_gap) best_gap = gap, best = wall - before - gap / 2;
  }
  return best;
}

static void *grown(void *block, size_t size) {
  void *larger = realloc(block, size);
  if (!larger) exit(fprintf(stderr, "out of memory\n"));
  return larger;
}

/* -- a min-heap of connections by the time their next token is due */

static void place(Connection *connection, int at) { heap[connection->heap_at = at] = connection; }

static void sift(int at) {
  Connection *moved = heap[at];
  while (at > 0 && heap[(at - 1) / 2]->due_ns > moved->due_ns) {
    place(heap[(at - 1) / 2], at);
    at = (at - 1) / 2;
  }
  for (int child; (child = 2 * at + 1) < heap_length; at = child) {
    if (child + 1 < heap_length && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
    if (heap[child]->due_ns >= moved->due_ns) break;
    place(heap[child], at);
  }
  place(moved, at);
}

static void schedule(Connection *connection, int64_t due_ns) {
  connection->due_ns = due_ns;
  if (connection->heap_at < 0) place(connection, heap_length++);
  sift(connection->heap_at);
}

static void unschedule(Connection *connection) {
  int at = connection->heap_at;
  if (at < 0) return;
  connection->heap_at = -1;
  if (at == --heap_length) return;
  place(heap[heap_length], at);
  sift(at);
}

/* -- writing */

static void watch(Connection *connection) {
  struct epoll_event event = {.events = EPOLLIN | (connection->out_length ? EPOLLOUT : 0),
                              .data.fd = connection->fd};
  epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

static void put(Connection *connection, const char *data, size_t length) {
  if (!connection->out_length) {
    ssize_t sent = send(connection->fd, data, length, MSG_NOSIGNAL);
    if (sent == (ssize_t)length || (sent < 0 && errno != EAGAIN)) return;
    if (sent > 0) data += sent, length -= sent;
  }
  if (connection->out_length + length > connection->out_room) {
    connection->out_room = 2 * (connection->out_length + length);
    connection->out = grown(connection->out, connection->out_room);
  }
  memcpy(connection->out + connection->out_length, data, length);
  connection->out_length += length;
  watch(connection);
}

static void put_more(Connection *connection) {
  ssize_t sent = send(connection->fd, connection->out, connection->out_length, MSG_NOSIGNAL);
  if (sent <= 0) return;
  connection->out_length -= sent;
  memmove(connection->out, connection->out + sent, connection->out_length);
  watch(connection);
}

static size_t event_of(char *into, Connection *connection, const char *middle) {
  char event[512];
  int size = snprintf(event, sizeof event,
                      "data: {\"id\":\"cmpl-%08ld\",\"object\":\"%s\",\"created\":1790000000,"
                      "\"model\":\"fake\",%s}\n\n",
                      connection->truth,
                      connection->chat ? "chat.completion.chunk" : "text_completion", middle);
  return sprintf(into, "%x\r\n%s\r\n", size, event);
}

static size_t choice_of(char *into, Connection *connection, const char *text, const char *reason) {
  char middle[256];
  snprintf(middle, sizeof middle,
           connection->chat
               ? "\"choices\":[{\"index\":0,\"delta\":{%s%s%s},\"logprobs\":null,"
                 "\"finish_reason\":%s}]"
               : "\"choices\":[{\"index\":0,%s%s%s,\"logprobs\":null,\"finish_reason\":%s}]",
           connection->chat ? (*text ? "\"content\":\"" : "") : "\"text\":\"", text,
           connection->chat && !*text ? "" : "\"", reason);
  return event_of(into, connection, middle);
}

static void end_answer(Connection *connection) {
  char data[1024];
  size_t size = choice_of(data, connection, "", "\"length\"");
  if (connection->usage) {
    char middle[128];
    snprintf(middle, sizeof middle,
             "\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":%d,"
             "\"total_tokens\":%d}",
             connection->tokens, 9 + connection->tokens);
    size += event_of(data + size, connection, middle);
  }
  size += sprintf(data + size, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
  put(connection, data, size);
  connection->truth = -1;
  in_flight--;
}

static void write_token(Connection *connection) {
  char data[512], text[16];
  snprintf(text, sizeof text, " t%03d", connection->sent % 1000);
  size_t size = choice_of(data, connection, text, "null");
  int64_t *written = truths[connection->truth].written + 2 * connection->sent;
  written[0] = monotonic_ns();
  put(connection, data, size);
  written[1] = monotonic_ns();
  truths[connection->truth].tokens = ++connection->sent;
  if (connection->sent < connection->tokens) {
    schedule(connection, connection->due_ns + itl_ns);
  } else {
    unschedule(connection);
    end_answer(connection);
  }
}

/* -- requests */

static long number_after(const char *body, const char *key) {
  const char *found = strstr(body, key);
  return found ? strtol(found + strlen(key) + strspn(found + strlen(key), ": "), NULL, 10) : 0;
}

static int is_true(const char *body, const char *key) {
  const char *found = strstr(body, key);
  return found && !strncmp(found + strlen(key) + strspn(found + strlen(key), ": "), "true", 4);
}

static void put_json(Connection *connection, const char *body) {
  char data[1024];
  int size = snprintf(data, sizeof data,
                      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                      "Content-Length: %zu\r\n\r\n%s",
                      strlen(body), body);
  put(connection, data, size);
}

static void put_whole_answer(Connection *connection, long tokens) {
  char body[512];
  snprintf(body, sizeof body,
           "{\"id\":\"cmpl-whole\",\"object\":\"%s\",\"created\":1790000000,\"model\":\"fake\","
           "\"choices\":[{\"index\":0,\"%s,\"finish_reason\":\"length\"}],\"usage\":"
           "{\"prompt_tokens\":9,\"completion_tokens\":%ld,\"total_tokens\":%ld}}",
           connection->chat ? "chat.completion" : "text_completion",
           connection->chat ? "message\":{\"role\":\"assistant\",\"content\":\"t\"}" : "text\":\"t\"",
           tokens, tokens + 9);
  put_json(connection, body);
}

static void begin_answer(Connection *connection, const char *body) {
  long tokens = number_after(body, "\"max_completion_tokens\"");
  if (!tokens) tokens = number_after(body, "\"max_tokens\"");
  if (forced_tokens) tokens = forced_tokens;
  if (tokens < 1) tokens = 16;
  if (!is_true(body, "\"stream\"")) {
    put_whole_answer(connection, tokens);
    return;
  }
  if (truth_count == truth_room) {
    truth_room = truth_room ? 2 * truth_room : 1024;
    truths = grown(truths, truth_room * sizeof *truths);
  }
  Truth *truth = &truths[truth_count];
  *truth = (Truth){truth_count, connection->first_byte_ns, monotonic_ns(), 0, ++in_flight,
                   connection->connection, grown(NULL, 2 * tokens * sizeof(int64_t))};
  connection->truth = truth_count++;
  connection->tokens = tokens;
  connection->sent = 0;
  connection->usage = is_true(body, "\"include_usage\"");
  char data[1024];
  size_t size = sprintf(data, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n");
  if (connection->chat)
    size += event_of(data + size, connection,
                     "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                     "\"logprobs\":null,\"finish_reason\":null}]");
  put(connection, data, size);
  schedule(connection, truth->first_byte_ns + ttft_ns);
}

/* Take one complete request off the input; returns 0 when there is none yet. */
static int take_request(Connection *connection) {
  char *in = connection->in;
  in[connection->in_length] = 0;
  char *end = strstr(in, "\r\n\r\n");
  if (!end || connection->truth >= 0) return 0;
  *end = 0;
  char *header = strcasestr(in, "content-length:");
  size_t head = end + 4 - in, length = header ? strtoul(header + 15, NULL, 10) : 0;
  *end = '\r';
  if (connection->in_length < head + length) return 0;
  char kept = in[head + length];
  in[head + length] = 0;
  connection->chat = strstr(in, "/chat/completions") != NULL;
  if (!strncmp(in, "POST", 4))
    begin_answer(connection, in + head);
  else if (strstr(in, "/models"))
    put_json(connection, "{\"object\":\"list\",\"data\":[{\"id\":\"fake\",\"object\":\"model\","
                         "\"created\":1,\"owned_by\":\"us\",\"max_model_len\":32768}]}");
  else
    put_json(connection, "{\"status\":\"ok\"}");
  in[head + length] = kept;
  connection->in_length -= head + length;
  memmove(in, in + head + length, connection->in_length);
  return 1;
}

static void drop(Connection *connection) {
  unschedule(connection);
  if (connection->truth >= 0) in_flight--;
  connections[connection->fd] = NULL;
  close(connection->fd);
  free(connection->in), free(connection->out), free(connection);
}

static void receive(Connection *connection) {
  if (connection->in_room - connection->in_length < 65537) {
    connection->in_room = 2 * connection->in_room + 131072;
    connection->in = grown(connection->in, connection->in_room);
  }
  char control[128];
  struct iovec into = {connection->in + connection->in_length, 65536};
  struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  ssize_t size = recvmsg(connection->fd, &message, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0 || connection->in_length > MOST_REQUEST_BYTES) {
    drop(connection);
    return;
  }
  if (!connection->in_length) {
    connection->first_byte_ns = monotonic_ns();
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part))
      if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPNS) {
        struct timespec *stamp = (struct timespec *)CMSG_DATA(part);
        connection->first_byte_ns =
            stamp->tv_sec * 1000000000LL + stamp->tv_nsec - wall_offset_ns();
      }
  }
  connection->in_length += size;
  while (take_request(connection)) continue;
}

static void take_connections(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    int on = 1;
    if (fd >= MOST_CONNECTIONS) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    Connection *connection = connections[fd] = grown(NULL, sizeof *connection);
    *connection = (Connection){.fd = fd, .heap_at = -1, .truth = -1,
                               .connection = connection_count++};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  }
}

static void stop(int sign) { stopping = sign; }

static void write_truth(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file) exit(fprintf(stderr, "cannot write %s\n", path));
  for (long i = 0; i < truth_count; i++) {
    fwrite(&truths[i], sizeof(int64_t), 6, file);
    fwrite(truths[i].written, 2 * sizeof(int64_t), truths[i].tokens, file);
  }
  int64_t last[2] = {-1, clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
  fwrite(last, sizeof last, 1, file);
  fclose(file);
}

int main(int argc, char **argv) {
  const char *path = NULL;
  int port = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "--ttft-us")) ttft_ns = atoll(value) * 1000;
    else if (!strcmp(name, "--itl-us")) itl_ns = atoll(value) * 1000;
    else if (!strcmp(name, "--tokens")) forced_tokens = atoi(value);
    else if (!strcmp(name, "--truth")) path = value;
    else if (!strcmp(name, "--port")) port = atoi(value);
    else if (!strcmp(name, "--cpu")) {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(atoi(value), &cpus);
      sched_setaffinity(0, sizeof cpus, &cpus);
    } else return fprintf(stderr, "unknown option %s\n", name);
  }
  if (!path) return fprintf(stderr, "--truth FILE is missing\n");
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files), files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGTERM, &action, NULL), sigaction(SIGINT, &action, NULL);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) {
    perror("cannot listen");
    return 1;
  }
  getsockname(listener, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port)), fflush(stdout);
  poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  while (!stopping) {
    int64_t now = monotonic_ns();
    while (heap_length && heap[0]->due_ns <= now) {
      write_token(heap[0]);
      now = monotonic_ns();
    }
    struct timespec wait = {1, 0};
    if (heap_length) {
      int64_t left = heap[0]->due_ns - now;
      if (left < 1000000000LL) wait = (struct timespec){0, left > 0 ? left : 0};
    }
    int ready = epoll_pwait2(poller, events, 256, &wait, NULL);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) take_connections(listener);
      else if (connections[fd]) {
        if (events[i].events & EPOLLOUT) put_more(connections[fd]);
        if (connections[fd] && events[i].events & ~EPOLLOUT) receive(connections[fd]);
      }
    }
  }
  write_truth(path);
  return 0;
}
