// How the clients of loadgen send and receive bytes: over TCP, TLS or WebSocket, with non-blocking sockets.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
#endif

enum { TCP, TLS, WEBSOCKET };
enum { FRAME_HEADER = 10, MASKED_HEADER = 14, BINARY = 0x82, CLOSE = 8, PING = 9, SMALL = 126, LARGE = 127 };
static const unsigned char MASK[4] = {0x5A, 0xC3, 0x96, 0x3C};
static const char UPGRADE[] =
    "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
static const char UPGRADED[] = "HTTP/1.1 101";

// One connection, as far as its bytes are concerned. An incomplete header of a frame waits in `header`.
typedef struct {
  int fd;
  SSL *tls;
  bool is_waiting_to_read;  // what is unsent can go out only when something came in
  unsigned char header[FRAME_HEADER];
  int header_size, opcode;
  uint64_t frame_left;
} wire_t;

static int transport = TCP;

#ifdef WITH_TLS
static SSL_CTX *tls_context;

static void prepare_transport(void) {
  if (transport != TLS) return;
  tls_context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_RELEASE_BUFFERS);
}

static void begin_wire(wire_t *w) {
  if (transport != TLS) return;
  w->tls = SSL_new(tls_context);
  SSL_set_fd(w->tls, w->fd);
  SSL_set_connect_state(w->tls);
}

static void end_wire(wire_t *w) {
  if (w->tls) SSL_free(w->tls);
  if (w->fd >= 0) close(w->fd);
  *w = (wire_t){.fd = -1};
}

// As `send` and `recv` do: -1 with EAGAIN = not now.
static ssize_t result_of(wire_t *w, int k) {
  if (k > 0) return k;
  int error = SSL_get_error(w->tls, k);
  w->is_waiting_to_read = error == SSL_ERROR_WANT_READ;
  errno = EAGAIN;
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t send_some(wire_t *w, const void *bytes, int size) {
  w->is_waiting_to_read = false;
  if (!w->tls) return send(w->fd, bytes, size, MSG_NOSIGNAL);
  ERR_clear_error();  // of other connections
  return result_of(w, SSL_write(w->tls, bytes, size));
}

static ssize_t receive_some(wire_t *w, void *bytes, int room) {
  if (!w->tls) return recv(w->fd, bytes, room, 0);
  ERR_clear_error();
  return result_of(w, SSL_read(w->tls, bytes, room));
}

static bool has_more_to_receive(const wire_t *w) { return w->tls && SSL_pending(w->tls) > 0; }
#else
static void prepare_transport(void) {
  if (transport == TLS) fprintf(stderr, "loadgen was compiled without OpenSSL\n"), exit(2);
}

static void begin_wire(wire_t *w) { (void)w; }

static void end_wire(wire_t *w) {
  if (w->fd >= 0) close(w->fd);
  *w = (wire_t){.fd = -1};
}

static ssize_t send_some(wire_t *w, const void *bytes, int size) { return send(w->fd, bytes, size, MSG_NOSIGNAL); }

static ssize_t receive_some(wire_t *w, void *bytes, int room) { return recv(w->fd, bytes, room, 0); }

static bool has_more_to_receive(const wire_t *w) { return (void)w, false; }
#endif

// ---- WebSocket frames

// Put a binary frame around a packet of less than 64 KiB; returns its size.
static int put_frame(unsigned char *to, const unsigned char *packet, int size) {
  int n = 0;
  to[n++] = BINARY;
  if (size < SMALL) to[n++] = 0x80 | size;
  else to[n++] = 0x80 | SMALL, to[n++] = size >> 8, to[n++] = size;
  memcpy(to + n, MASK, sizeof MASK), n += sizeof MASK;
  for (int i = 0; i < size; i++) to[n + i] = packet[i] ^ MASK[i & 3];
  return n + size;
}

static int header_needs(const wire_t *w) {
  if (w->header_size < 2) return 2;
  int length = w->header[1] & 0x7F;
  return length == SMALL ? 4 : length == LARGE ? 10 : 2;
}

// Keep what the frames carry, in place; returns its size, or -1 when the server closes.
static int unframe(wire_t *w, unsigned char *bytes, int size) {
  int kept = 0, at = 0;
  while (at < size) {
    if (w->frame_left) {
      int part = w->frame_left < (uint64_t)(size - at) ? (int)w->frame_left : size - at;
      if (w->opcode < CLOSE) memmove(bytes + kept, bytes + at, part), kept += part;
      at += part, w->frame_left -= part;
      continue;
    }
    w->header[w->header_size++] = bytes[at++];
    int needed = header_needs(w);
    if (w->header_size < needed) continue;
    w->opcode = w->header[0] & 0xF;
    if (w->opcode == CLOSE) return -1;
    w->frame_left = needed == 2 ? w->header[1] & 0x7F : 0;
    for (int i = 2; i < needed; i++) w->frame_left = w->frame_left << 8 | w->header[i];
    w->header_size = 0;
  }
  return kept;
}
