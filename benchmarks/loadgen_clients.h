// The clients of loadgen: MQTT 3.1.1 or 5 over non-blocking sockets, and what the phase that is running has counted.
#pragma once
#include "loadgen_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { PAYLOAD = 64, TEXT = 512, LONGEST = 4 * TEXT, INBOX = 1 << 18 };
enum { EVENTS = 512, SOURCES = 200, FLOOD_BYTES = 1 << 16 };
enum { CONNECT = 0x10, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 0x82, SUBACK = 9, DISCONNECT = 0xE0 };
enum { LEVEL_5 = 5, SESSION_EXPIRY = 0x11, REFUSED = 0x80 };
static const unsigned char EXPIRY_SECONDS[4] = {0, 0, 0x0E, 0x10};  // an hour
static const double LIMIT_SECONDS = 90, STALL_SECONDS = 10, DRAIN_SECONDS = 2;

typedef enum { ABSENT, CONNECTING, AWAITS_UPGRADE, AWAITS_CONNACK, AWAITS_SUBACK, READY, LEAVING } stage_t;

typedef struct {
  wire_t wire;
  stage_t stage;
  bool is_write_watched;
  uint16_t packet_id;
  int heard, awaited;  // in this phase: messages that it received; what its message under way still waits for
  int rest_size, unsent_size, unsent_room;
  unsigned char *rest, *unsent;  // an incomplete packet; what the socket did not take yet
  double started;
  char *client_id, *username, *password;
} client_t;

static client_t *clients;
static int client_count, poller, level = 4;
static struct sockaddr_in broker;
static unsigned char inbox[INBOX];

// The phase that a command runs.
static double *took;
static int took_count, took_room, done, failed, received, acknowledged, phase;
static int next_client, last_client, own_qos;
static bool stays, times_acknowledgements;
static void (*on_arrival)(client_t *);  // called when what a client's message waits for has come
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
  on_arrival = NULL;
  for (client_t *c = clients; c < clients + client_count; c++) c->heard = c->awaited = 0;
  memset(published_at, 0, sizeof published_at);
  phase++;
}

// ---- writing

static void watch(client_t *c, bool write_too) {
  if (c->is_write_watched == write_too) return;
  struct epoll_event e = {.events = EPOLLIN | (write_too ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(poller, EPOLL_CTL_MOD, c->wire.fd, &e);
  c->is_write_watched = write_too;
}

static void flush_out(client_t *c) {
  int sent = 0;
  while (sent < c->unsent_size) {
    ssize_t k = send_some(&c->wire, c->unsent + sent, c->unsent_size - sent);
    if (k <= 0) break;
    sent += k;
  }
  c->unsent_size -= sent;
  if (c->unsent_size) memmove(c->unsent, c->unsent + sent, c->unsent_size);
  watch(c, c->unsent_size > 0 && !c->wire.is_waiting_to_read);
}

static void append(client_t *c, const void *bytes, int size) {
  if (c->unsent_size + size > c->unsent_room)
    c->unsent = realloc(c->unsent, c->unsent_room = (c->unsent_size + size) * 2);
  memcpy(c->unsent + c->unsent_size, bytes, size);
  c->unsent_size += size;
}

static void append_packet(client_t *c, unsigned char first, const unsigned char *body, int size) {
  unsigned char packet[LONGEST + MASKED_HEADER] = {first}, framed[sizeof packet];
  int k = 1, left = size;
  do {
    packet[k++] = (left % 128) | (left >= 128 ? 0x80 : 0);
    left /= 128;
  } while (left);
  if (size) memcpy(packet + k, body, size);
  if (transport == WEBSOCKET) append(c, framed, put_frame(framed, packet, k + size));
  else append(c, packet, k + size);
}

static int put_text(unsigned char *to, const char *text) {
  int size = strlen(text);
  to[0] = size >> 8, to[1] = size;
  memcpy(to + 2, text, size);
  return size + 2;
}

static void append_connect(client_t *c) {
  unsigned char body[LONGEST];
  bool is_kept = own_qos > 0;
  int n = put_text(body, "MQTT");
  body[n++] = level, body[n++] = is_kept ? 0xC0 : 0xC2, body[n++] = 0, body[n++] = 0;  // no keep-alive
  if (level == LEVEL_5) {
    body[n++] = is_kept ? 5 : 0;
    if (is_kept) body[n++] = SESSION_EXPIRY, memcpy(body + n, EXPIRY_SECONDS, 4), n += 4;
  }
  n += put_text(body + n, c->client_id);
  n += put_text(body + n, c->username);
  n += put_text(body + n, c->password);
  append_packet(c, CONNECT, body, n);
}

static void append_subscribe(client_t *c, const char *filter, int qos) {
  unsigned char body[2 * TEXT] = {0, 1};
  int n = 2 + (level == LEVEL_5);
  n += put_text(body + n, filter);
  body[n++] = qos;
  append_packet(c, SUBSCRIBE, body, n);
}

// `about` is the device whose topic it is.
static void append_publish(client_t *c, const client_t *about, const char *topic, int qos) {
  unsigned char body[TEXT + PAYLOAD + 5];
  int n = put_text(body, topic);
  if (qos) {
    if (!++c->packet_id) c->packet_id = 1;
    body[n++] = c->packet_id >> 8, body[n++] = c->packet_id;
  }
  if (level == LEVEL_5) body[n++] = 0;
  double t = now();
  if (times_acknowledgements) published_at[c->packet_id] = t;
  memset(body + n, 'x', PAYLOAD);
  memcpy(body + n, &t, sizeof t);
  memcpy(body + n + sizeof t, &phase, sizeof phase);
  int device = about - clients;
  memcpy(body + n + sizeof t + sizeof phase, &device, sizeof device);
  append_packet(c, PUBLISH << 4 | qos << 1, body, n + PAYLOAD);
}

static const char *topic_of(const client_t *c, const char *last) {
  static char topic[TEXT];
  snprintf(topic, sizeof topic, "devices/%s/%s", c->client_id, last);
  return topic;
}

// ---- connections

static void drop(client_t *c) {
  end_wire(&c->wire);
  free(c->rest);
  free(c->unsent);
  c->rest = c->unsent = NULL;
  c->rest_size = c->unsent_size = c->unsent_room = 0;
  c->stage = ABSENT;
}

static bool open_client(client_t *c) {
  int one = 1, index = c - clients;
  int fd = c->wire.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  // Spread over 127.0.0.2 … so that ephemeral ports last, and bounds per address are not what is measured.
  struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000002 + index % SOURCES)};
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  bind(fd, (struct sockaddr *)&source, sizeof source);
  c->started = now();
  c->stage = CONNECTING;
  if (connect(fd, (struct sockaddr *)&broker, sizeof broker) && errno != EINPROGRESS) return drop(c), false;
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
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
    if (!stays) {
      append_packet(c, DISCONNECT, NULL, 0);
      flush_out(c);
      failed += c->unsent_size > 0;
    }
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

// Of MQTT 5, with their length before them.
static int properties_size(const unsigned char *at) {
  int size = 0, k = 0;
  do size |= (at[k] & 0x7F) << 7 * k;
  while (at[k++] & 0x80);
  return size + k;
}

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
    bool is_granted = size > 2 && body[size - 1] < REFUSED;  // the only filter's; MQTT 5 has properties before it
    if (c->stage == AWAITS_SUBACK) connected(c, is_granted);
    else is_granted ? done++ : failed++;
  } else if (kind == PUBLISH) {
    int at = 2 + (body[0] << 8 | body[1]), message_phase, device;
    double t;
    if (qos) {
      append_packet(c, PUBACK << 4, body + at, 2);
      flush_out(c);
      at += 2;
    }
    if (level == LEVEL_5) at += properties_size(body + at);
    if (size - at != PAYLOAD) return;
    memcpy(&t, body + at, sizeof t);
    memcpy(&message_phase, body + at + sizeof t, sizeof message_phase);
    memcpy(&device, body + at + sizeof t + sizeof message_phase, sizeof device);
    if (message_phase != phase) return;
    received++;
    c->heard++;
    if (!times_acknowledgements) note_seconds(now() - t);
    if (on_arrival) on_arrival(&clients[device]);
  } else if (kind == PUBACK) {
    double *at = &published_at[body[0] << 8 | body[1]];
    if (times_acknowledgements && !*at) return;  // it was published in an earlier phase
    if (size > 2 && body[2] >= REFUSED) {
      failed++;
      return;
    }
    acknowledged++;
    if (times_acknowledgements) note_seconds(now() - *at);
    *at = 0;
    if (on_arrival) on_arrival(c);
  }
}

// Take one packet after the other; what is left of them waits for the rest.
static void take_packets(client_t *c, int have) {
  int at = 0;
  while (have - at >= 2) {
    int size = 0, start = at + 1, shift = 0;
    while (start < have && inbox[start] & 0x80) size |= (inbox[start++] & 0x7F) << shift, shift += 7;
    if (start == have) break;
    size |= inbox[start++] << shift;
    if (have - start < size) break;
    on_packet(c, inbox[at], inbox + start, size);
    if (c->stage == ABSENT) return;
    at = start + size;
  }
  free(c->rest);
  c->rest = NULL;
  if ((c->rest_size = have - at)) c->rest = memcpy(malloc(c->rest_size), inbox + at, c->rest_size);
}

// The server's answer to UPGRADE, of which nothing else comes before CONNECT; false when it refuses.
static bool take_upgrade(client_t *c, int have) {
  inbox[have] = 0;
  free(c->rest);
  c->rest = NULL, c->rest_size = 0;
  if (!strstr((char *)inbox, "\r\n\r\n")) {
    c->rest = memcpy(malloc(have), inbox, c->rest_size = have);
    return true;
  }
  if (strncmp((char *)inbox, UPGRADED, strlen(UPGRADED))) return false;
  c->stage = AWAITS_CONNACK;
  append_connect(c);
  flush_out(c);
  return true;
}

// Take what the socket has; false when the broker has closed.
static bool read_in(client_t *c) {
  do {
    int have = c->rest_size;
    if (have) memcpy(inbox, c->rest, have);
    ssize_t k = receive_some(&c->wire, inbox + have, INBOX - have - 1);
    if (k <= 0) return k < 0 && errno == EAGAIN;
    if (c->stage == AWAITS_UPGRADE) {
      if (!take_upgrade(c, have + k)) return false;
      continue;
    }
    if (transport == WEBSOCKET && (k = unframe(&c->wire, inbox + have, k)) < 0) return false;
    take_packets(c, have + k);
  } while (c->stage != ABSENT && has_more_to_receive(&c->wire));
  return true;
}

static void on_connected(client_t *c) {
  begin_wire(&c->wire);
  if (transport == WEBSOCKET) {
    c->stage = AWAITS_UPGRADE;
    append(c, UPGRADE, strlen(UPGRADE));
  } else {
    c->stage = AWAITS_CONNACK;
    append_connect(c);
  }
  flush_out(c);
}

static void turn(int milliseconds) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(poller, events, EVENTS, milliseconds);
  for (int i = 0; i < count; i++) {
    client_t *c = events[i].data.ptr;
    if (c->stage == ABSENT) continue;
    if (c->stage == CONNECTING) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(c->wire.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      error ? gone(c) : on_connected(c);
      continue;
    }
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_in(c)) gone(c);
    if (c->stage != ABSENT && c->unsent_size) flush_out(c);
  }
}
