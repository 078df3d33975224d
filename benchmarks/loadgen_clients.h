// The clients of loadgen: MQTT 3.1.1 over non-blocking sockets, and what the phase that is running has counted.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 64, TEXT = 512, INBOX = 1 << 18, EVENTS = 512, SOURCES = 200, FLOOD_BYTES = 1 << 16 };
enum { CONNECT = 0x10, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 0x82, SUBACK = 9 };
static const double LIMIT_SECONDS = 90, STALL_SECONDS = 10, DRAIN_SECONDS = 2;
static const unsigned char DISCONNECT[2] = {0xE0, 0};

typedef enum { ABSENT, CONNECTING, AWAITS_CONNACK, AWAITS_SUBACK, READY, LEAVING } stage_t;

typedef struct {
  int fd;
  stage_t stage;
  bool is_write_watched;
  uint16_t packet_id;
  int rest_size, unsent_size, unsent_room;
  unsigned char *rest, *unsent;  // an incomplete packet; what the socket did not take yet
  double started;
  char *client_id, *username, *password;
} client_t;

static client_t *clients;
static int client_count, poller;
static struct sockaddr_in broker;
static unsigned char inbox[INBOX];

// The phase that a command runs.
static double *took;
static int took_count, took_room, done, failed, received, acknowledged, phase;
static int next_client, last_client, own_qos;
static bool stays, times_acknowledgements;
static double published_at[1 << 16];  // by packet id, of the one client whose acknowledgements are timed

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void note_seconds(double seconds) {
  if (took_count == took_room) took = realloc(took, (took_room = took_room * 2 + 1024) * sizeof *took);
  took[took_count++] = seconds;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void begin(void) {
  took_count = done = failed = received = acknowledged = 0;
  times_acknowledgements = false;
  memset(published_at, 0, sizeof published_at);
  phase++;
}

// ---- writing

static void watch(client_t *c, bool write_too) {
  if (c->is_write_watched == write_too) return;
  struct epoll_event e = {.events = EPOLLIN | (write_too ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
  c->is_write_watched = write_too;
}

static void flush_out(client_t *c) {
  int sent = 0;
  while (sent < c->unsent_size) {
    ssize_t k = send(c->fd, c->unsent + sent, c->unsent_size - sent, MSG_NOSIGNAL);
    if (k <= 0) break;
    sent += k;
  }
  c->unsent_size -= sent;
  if (c->unsent_size) memmove(c->unsent, c->unsent + sent, c->unsent_size);
  watch(c, c->unsent_size > 0);
}

static void append(client_t *c, const void *bytes, int size) {
  if (c->unsent_size + size > c->unsent_room)
    c->unsent = realloc(c->unsent, c->unsent_room = (c->unsent_size + size) * 2);
  memcpy(c->unsent + c->unsent_size, bytes, size);
  c->unsent_size += size;
}

static void append_packet(client_t *c, unsigned char first, const unsigned char *body, int size) {
  unsigned char header[5] = {first};
  int k = 1, left = size;
  do {
    header[k++] = (left % 128) | (left >= 128 ? 0x80 : 0);
    left /= 128;
  } while (left);
  append(c, header, k);
  append(c, body, size);
}

static int put_text(unsigned char *to, const char *text) {
  int size = strlen(text);
  to[0] = size >> 8, to[1] = size;
  memcpy(to + 2, text, size);
  return size + 2;
}

static void append_connect(client_t *c) {
  unsigned char body[4 * TEXT];
  int n = put_text(body, "MQTT");
  body[n++] = 4, body[n++] = own_qos > 0 ? 0xC0 : 0xC2, body[n++] = 0, body[n++] = 0;  // no keep-alive
  n += put_text(body + n, c->client_id);
  n += put_text(body + n, c->username);
  n += put_text(body + n, c->password);
  append_packet(c, CONNECT, body, n);
}

static void append_subscribe(client_t *c, const char *filter, int qos) {
  unsigned char body[2 * TEXT] = {0, 1};
  int n = 2 + put_text(body + 2, filter);
  body[n++] = qos;
  append_packet(c, SUBSCRIBE, body, n);
}

static void append_publish(client_t *c, const char *topic, int qos) {
  unsigned char body[TEXT + PAYLOAD + 4];
  int n = put_text(body, topic);
  if (qos) {
    if (!++c->packet_id) c->packet_id = 1;
    body[n++] = c->packet_id >> 8, body[n++] = c->packet_id;
  }
  double t = now();
  if (times_acknowledgements) published_at[c->packet_id] = t;
  memset(body + n, 'x', PAYLOAD);
  memcpy(body + n, &t, sizeof t);
  memcpy(body + n + sizeof t, &phase, sizeof phase);
  append_packet(c, PUBLISH << 4 | qos << 1, body, n + PAYLOAD);
}

static const char *topic_of(const client_t *c, const char *last) {
  static char topic[TEXT];
  snprintf(topic, sizeof topic, "devices/%s/%s", c->client_id, last);
  return topic;
}

// ---- connections

static void drop(client_t *c) {
  if (c->fd >= 0) close(c->fd);
  free(c->rest);
  free(c->unsent);
  c->rest = c->unsent = NULL;
  c->rest_size = c->unsent_size = c->unsent_room = 0;
  c->fd = -1;
  c->stage = ABSENT;
}

static bool open_client(client_t *c) {
  int one = 1, index = c - clients;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) return false;
  // Spread over 127.0.0.2 … so that ephemeral ports last, and bounds per address are not what is measured.
  struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000002 + index % SOURCES)};
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  bind(c->fd, (struct sockaddr *)&source, sizeof source);
  c->started = now();
  c->stage = CONNECTING;
  if (connect(c->fd, (struct sockaddr *)&broker, sizeof broker) && errno != EINPROGRESS) return drop(c), false;
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
  c->is_write_watched = true;
  return true;
}

static void open_next(void) {
  while (next_client < last_client) {
    client_t *c = &clients[next_client++];
    if (c->stage == ABSENT && open_client(c)) return;
    failed++, done++;
  }
}

static void connected(client_t *c, bool is_ok) {
  done++;
  if (is_ok) {
    note_seconds(now() - c->started);
    c->stage = READY;
    if (!stays && send(c->fd, DISCONNECT, sizeof DISCONNECT, MSG_NOSIGNAL) < 0) failed++;
  } else failed++;
  if (!stays || !is_ok) drop(c);
  open_next();
}

static void gone(client_t *c) {
  stage_t was = c->stage;
  drop(c);
  if (was == LEAVING) done++;
  else if (was == READY) failed++;
  else connected(c, false);
}

// ---- reading

static void on_packet(client_t *c, unsigned char first, const unsigned char *body, int size) {
  int kind = first >> 4, qos = first >> 1 & 3;
  if (kind == CONNACK && c->stage == AWAITS_CONNACK) {
    if (size < 2 || body[1] || own_qos < 0) {
      connected(c, size >= 2 && !body[1]);
      return;
    }
    c->stage = AWAITS_SUBACK;
    append_subscribe(c, topic_of(c, "command"), own_qos);
    flush_out(c);
  } else if (kind == SUBACK) {
    bool is_granted = size > 2 && body[2] != 0x80;
    if (c->stage == AWAITS_SUBACK) connected(c, is_granted);
    else is_granted ? done++ : failed++;
  } else if (kind == PUBLISH) {
    int at = 2 + (body[0] << 8 | body[1]), message_phase;
    double t;
    if (qos) {
      append_packet(c, PUBACK << 4, body + at, 2);
      flush_out(c);
      at += 2;
    }
    if (size - at != PAYLOAD) return;
    memcpy(&t, body + at, sizeof t);
    memcpy(&message_phase, body + at + sizeof t, sizeof message_phase);
    if (message_phase == phase) received++;
    if (message_phase == phase && !times_acknowledgements) note_seconds(now() - t);
  } else if (kind == PUBACK) {
    double *at = &published_at[body[0] << 8 | body[1]];
    if (times_acknowledgements && !*at) return;  // it was published in an earlier phase
    acknowledged++;
    if (times_acknowledgements) note_seconds(now() - *at);
    *at = 0;
  }
}

// Take what the socket has, packet by packet; false when the broker has closed.
static bool read_in(client_t *c) {
  int have = c->rest_size, at = 0;
  if (have) memcpy(inbox, c->rest, have);
  ssize_t k = recv(c->fd, inbox + have, INBOX - have, 0);
  if (k <= 0) return k < 0 && errno == EAGAIN;
  have += k;
  while (have - at >= 2) {
    int size = 0, start = at + 1, shift = 0;
    while (start < have && inbox[start] & 0x80) size |= (inbox[start++] & 0x7F) << shift, shift += 7;
    if (start == have) break;
    size |= inbox[start++] << shift;
    if (have - start < size) break;
    on_packet(c, inbox[at], inbox + start, size);
    if (c->fd < 0) return true;
    at = start + size;
  }
  free(c->rest);
  c->rest = NULL;
  if ((c->rest_size = have - at)) c->rest = memcpy(malloc(c->rest_size), inbox + at, c->rest_size);
  return true;
}

static void turn(int milliseconds) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(poller, events, EVENTS, milliseconds);
  for (int i = 0; i < count; i++) {
    client_t *c = events[i].data.ptr;
    if (c->fd < 0) continue;
    if (c->stage == CONNECTING) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error) {
        gone(c);
        continue;
      }
      c->stage = AWAITS_CONNACK;
      append_connect(c);
      flush_out(c);
      continue;
    }
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_in(c)) gone(c);
    if (c->fd >= 0 && events[i].events & EPOLLOUT) flush_out(c);
  }
}
