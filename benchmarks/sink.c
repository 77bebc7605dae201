/* The floor: a C-STORE SCP that does as little as the protocol allows, in C. For measuring only: it trusts its peer.
 *
 *     sink PORT FOLDER write|sync
 *
 * Accepts every presentation context with its first transfer syntax; answers C-ECHO and C-STORE with Success; one
 * process an association. An instance becomes a file: 332 zero bytes where the Part 10 header would be, the data set.
 * "sync": file and folder are synced before Success, the least that a receiver of files owes its peer. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_PDU = 131072, C_ECHO_RQ = 0x0030 };

static const char *folder;
static int folder_fd, sync_files;
static uint8_t buffer[LONGEST_PDU + 6];

struct command { /* what an answer repeats of its request */
  uint16_t field, message_id;
  char sop_class[65], sop_instance[65];
};

static uint16_t big16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static uint32_t big32(const uint8_t *p) { return (uint32_t)big16(p) << 16 | big16(p + 2); }
static uint16_t little16(const uint8_t *p) { return p[1] << 8 | p[0]; }
static uint8_t *put16(uint8_t *p, uint16_t v) { return *p++ = v >> 8, *p++ = v & 255, p; }
static uint8_t *put32(uint8_t *p, uint32_t v) { return put16(put16(p, v >> 16), v & 65535); }
static uint8_t *put_bytes(uint8_t *p, const void *from, size_t n) { return (uint8_t *)memcpy(p, from, n) + n; }

static void must(int holds, const char *what) {
  if (!holds) {
    perror(what);
    _exit(1);
  }
}

static int receive(int s, uint8_t *to, size_t n) { return recv(s, to, n, MSG_WAITALL) == (ssize_t)n; }

static void answer(int s, const uint8_t *bytes, size_t n) {
  must(send(s, bytes, n, MSG_NOSIGNAL) == (ssize_t)n, "send");
}

/* PS3.8 9.3.2, 9.3.3: the A-ASSOCIATE-AC to the request in `buffer`, `length` bytes behind the PDU's head. */
static void accept_association(int s, uint32_t length) {
  static uint8_t reply[65536];
  const uint8_t *request = buffer + 6;
  uint8_t *p = put_bytes(reply + 6, request, 68); /* version and titles, as they came */
  for (uint32_t at = 68; at + 4 <= length; at += 4 + big16(request + at + 2)) {
    const uint8_t *item = request + at;
    uint16_t n = big16(item + 2);
    if (item[0] == 0x10) /* application context */
      p = put_bytes(p, item, 4 + n);
    if (item[0] != 0x20)
      continue;
    const uint8_t *sub = item + 8; /* presentation context: abstract syntax, then transfer syntaxes */
    while (sub[0] != 0x40)
      sub += 4 + big16(sub + 2);
    uint16_t size = 4 + big16(sub + 2);
    p = put16(put16(p, 0x2100), 4 + size);
    p = put32(p, (uint32_t)item[4] << 24);
    p = put_bytes(p, sub, size);
  }
  p = put16(put16(p, 0x5000), 8 + 4 + 7); /* user information: maximum length, implementation class UID */
  p = put32(put16(put16(p, 0x5100), 4), LONGEST_PDU);
  p = put_bytes(put16(put16(p, 0x5200), 7), "1.2.3.4", 7);
  put32(put16(reply, 0x0200), p - reply - 6);
  answer(s, reply, p - reply);
}

/* PS3.7 6.3: command sets are implicit VR little endian. */
static struct command read_command(const uint8_t *set, size_t length) {
  struct command c = {0};
  for (size_t at = 0; at + 8 <= length; at += 8 + little16(set + at + 4)) {
    const uint8_t *value = set + at + 8;
    size_t n = little16(set + at + 4);
    switch (little16(set + at + 2)) {
    case 0x0002: memcpy(c.sop_class, value, n < 64 ? n : 64); break;
    case 0x0100: c.field = little16(value); break;
    case 0x0110: c.message_id = little16(value); break;
    case 0x1000: memcpy(c.sop_instance, value, n < 64 ? n : 64); break;
    }
  }
  return c;
}

static uint8_t *put_element(uint8_t *p, uint16_t element, const void *value, size_t n) {
  uint8_t head[8] = {0, 0, element & 255, element >> 8, n + (n & 1)};
  p = put_bytes(put_bytes(p, head, 8), value, n);
  if (n & 1)
    *p++ = 0;
  return p;
}

static uint8_t *put_number(uint8_t *p, uint16_t element, uint16_t value) {
  uint8_t bytes[2] = {value & 255, value >> 8};
  return put_element(p, element, bytes, 2);
}

static void say_success(int s, uint8_t context, const struct command *c) {
  uint8_t reply[512], *set = reply + 12, *p = set + 12;
  p = put_element(p, 0x0002, c->sop_class, strlen(c->sop_class));
  p = put_number(p, 0x0100, c->field | 0x8000);
  p = put_number(p, 0x0120, c->message_id);
  p = put_number(p, 0x0800, 0x0101); /* no data set */
  p = put_number(p, 0x0900, 0x0000);
  if (c->field != C_ECHO_RQ)
    p = put_element(p, 0x1000, c->sop_instance, strlen(c->sop_instance));
  uint8_t group_length[4] = {(p - set - 12) & 255, (p - set - 12) >> 8};
  put_element(set, 0x0000, group_length, 4);
  put32(put16(reply, 0x0400), p - reply - 6);
  put32(reply + 6, p - reply - 10);
  reply[10] = context;
  reply[11] = 3;
  answer(s, reply, p - reply);
}

static int open_instance(const struct command *c) {
  static const uint8_t header[332];
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.dcm", folder, c->sop_instance);
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
  must(fd >= 0 && write(fd, header, sizeof header) == sizeof header, path);
  return fd;
}

static void close_instance(int fd) {
  must(!sync_files || fsync(fd) == 0, "fsync");
  must(close(fd) == 0, "close");
  must(!sync_files || fsync(folder_fd) == 0, "fsync of the folder");
}

/* PS3.8 9.3.5: each presentation data value of one P-DATA-TF. Commands of our sender come in one fragment. */
static void take_data(int s, uint32_t length, struct command *c, int *fd) {
  for (const uint8_t *pdv = buffer + 6; pdv < buffer + 6 + length; pdv += 4 + big32(pdv)) {
    uint32_t n = big32(pdv) - 2;
    uint8_t control = pdv[5];
    if (control & 1) {
      *c = read_command(pdv + 6, n);
      if (c->field == C_ECHO_RQ)
        say_success(s, pdv[4], c);
      else
        *fd = open_instance(c);
      continue;
    }
    must(write(*fd, pdv + 6, n) == (ssize_t)n, "write");
    if (control & 2) {
      close_instance(*fd);
      say_success(s, pdv[4], c);
    }
  }
}

static void serve(int s) {
  struct command command = {0};
  int fd = -1, on = 1;
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  while (receive(s, buffer, 6)) {
    uint32_t length = big32(buffer + 2);
    if (length > LONGEST_PDU || !receive(s, buffer + 6, length))
      return;
    switch (buffer[0]) {
    case 1: accept_association(s, length); break;
    case 4: take_data(s, length, &command, &fd); break;
    case 5: answer(s, (const uint8_t[10]){6, 0, 0, 0, 0, 4}, 10); return;
    default: return;
    }
  }
}

int main(int count, char **words) {
  must(count == 4, "sink PORT FOLDER write|sync");
  folder = words[2];
  folder_fd = open(folder, O_RDONLY);
  sync_files = !strcmp(words[3], "sync");
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(!bind(listener, (void *)&here, sizeof here) && !listen(listener, 512), "bind");
  for (;;) {
    int s = accept(listener, 0, 0);
    while (waitpid(-1, 0, WNOHANG) > 0) /* so that the CPU time of those that ended is counted as ours */
      ;
    if (s < 0)
      continue;
    if (fork() == 0) {
      close(listener);
      serve(s);
      _exit(0);
    }
    close(s);
  }
}
