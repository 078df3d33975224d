// loadgen: a small epoll load generator for MQTT 3.1.1 and 5, for measuring brokers on loopback.
//
//   loadgen HOST PORT CREDENTIALS [LEVEL [TRANSPORT]]
//
// LEVEL is the protocol level, 4 (MQTT 3.1.1, the default) or 5. TRANSPORT is tcp (the default), tls, which needs a
// loadgen that was compiled with OpenSSL and doesn't verify the certificate, or ws, with a frame for each packet.
//
// CREDENTIALS holds a client a line: client id, user name and password, separated by tabs. Client 0 is the back end, the
// others are devices. Commands come in on standard input, one a line; each is answered with one JSON object on a line.
//
//   connect FIRST COUNT PARALLEL QOS        connect, subscribe to the own command topic (QOS -1: don't), and stay; the
//                                           session is persistent with QOS 1
//   churn FIRST COUNT PARALLEL QOS          the same, and disconnect at once
//   close FIRST COUNT                       disconnect, and wait until the broker has closed
//   listen QOS                              the back end subscribes to the state of every device
//   share FIRST COUNT QOS                   these clients share one subscription to the state of every device
//   state FIRST COUNT MESSAGES WINDOW QOS   these devices publish in turn, the back end receives
//   command FIRST COUNT MESSAGES WINDOW QOS the back end publishes to these devices in turn, each receives its own
//   crowd FIRST COUNT MESSAGES QOS          these devices publish all at once, each its next as soon as the back end has
//                                           its last and, at QoS 1, the broker has acknowledged it
//   orders FIRST COUNT MESSAGES QOS         the back end publishes to all of these devices at once, to each the next as
//                                           soon as it has its last
//   heard FIRST COUNT                       answered with a list: the messages that each received in the last phase
//   echo CLIENT MESSAGES                    a device publishes to its own command topic and waits for it, one by one
//   beat CLIENT RATE QOS                    a device publishes RATE messages a second to its own command topic, whether or
//                                           not the ones before are back, until the next line; one is back when it is
//                                           received, or at QOS 1 when it is acknowledged; what doesn't come back
//                                           counts as taking DRAIN_SECONDS
//   pace FIRST COUNT RATE                   these devices publish RATE messages a second in all, until the next line
//   flood CLIENT                            a device publishes as fast as the broker reads, until the next line
//   stop                                    that next line; not answered itself
//
// WINDOW messages are under way from end to end at once. Every loop is bounded by LIMIT_SECONDS, or by STALL_SECONDS
// without progress; what was not done by then is reported as failed.
#include "loadgen_clients.h"

enum { LINE = 4096 };

static void report(double seconds) {
  double at[] = {.5, .99, 1}, value[3] = {0};
  qsort(took, took_count, sizeof *took, by_value);
  for (int i = 0; i < 3 && took_count; i++) value[i] = took[(int)(at[i] * (took_count - 1))] * 1e3;
  printf("{\"done\": %d, \"failed\": %d, \"seconds\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f}\n", done,
         failed, seconds, value[0], value[1], value[2]);
  fflush(stdout);
}

static bool is_told_to_stop(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  return poll(&input, 1, 0) > 0;
}

static void run_connect(int first, int count, int parallel, int qos, bool stay) {
  begin();
  stays = stay, own_qos = qos, next_client = first, last_client = first + count;
  double start = now();
  for (int i = 0; i < parallel; i++) open_next();
  while (done < count && now() - start < LIMIT_SECONDS) turn(200);
  double seconds = now() - start;
  next_client = last_client;
  failed += count - done;
  done = took_count;
  report(seconds);
}

static void run_close(int first, int count) {
  begin();
  double start = now();
  int open = 0;
  for (client_t *c = clients + first; c < clients + first + count; c++) {
    if (c->stage != READY) continue;
    open++;
    c->stage = LEAVING;
    append_packet(c, DISCONNECT, NULL, 0);
    flush_out(c);
  }
  while (done < open && now() - start < LIMIT_SECONDS) turn(200);
  failed = open - done;
  report(now() - start);
}

static void run_listen(int qos) {
  begin();
  double start = now();
  append_subscribe(&clients[0], "devices/+/state", qos);
  flush_out(&clients[0]);
  while (!done && !failed && now() - start < STALL_SECONDS) turn(50);
  failed += !done && !failed;
  report(now() - start);
}

static void run_share(int first, int count, int qos) {
  begin();
  double start = now();
  for (client_t *c = clients + first; c < clients + first + count; c++) {
    append_subscribe(c, "$share/benchmark/devices/+/state", qos);
    flush_out(c);
  }
  while (done + failed < count && now() - start < STALL_SECONDS) turn(50);
  failed = count - done;
  report(now() - start);
}

static void print_heard(int first, int count) {
  for (int i = 0; i < count; i++) printf("%s%d", i ? ", " : "[", clients[first + i].heard);
  printf("]\n");
  fflush(stdout);
}

static struct {
  int unsent, qos;
  bool is_orders;
} crowd;

static void send_next(client_t *device) {
  client_t *sender = crowd.is_orders ? &clients[0] : device;
  if (!crowd.unsent || sender->stage != READY) return;
  crowd.unsent--;
  // The acknowledgement of an order comes to the back end, which doesn't know whose it is: it isn't waited for.
  device->awaited = crowd.qos && !crowd.is_orders ? 2 : 1;
  append_publish(sender, device, topic_of(device, crowd.is_orders ? "command" : "state"), crowd.qos);
  flush_out(sender);
}

static void one_less_awaited(client_t *c) {
  if (c->awaited && !--c->awaited) send_next(c);
}

static void run_crowd(bool is_orders, int first, int count, int messages, int qos) {
  begin();
  crowd.unsent = messages, crowd.qos = qos, crowd.is_orders = is_orders;
  on_arrival = one_less_awaited;
  int seen = 0;
  double start = now(), progress = start;
  for (int i = 0; i < count; i++) send_next(&clients[first + i]);
  while ((received < messages || (qos && acknowledged < messages)) && now() - start < LIMIT_SECONDS) {
    turn(100);
    if (received + acknowledged != seen) seen = received + acknowledged, progress = now();
    else if (now() - progress > STALL_SECONDS) break;
  }
  done = received;
  failed += messages - received;
  report(now() - start);
}

static void run_messages(bool is_command, int first, int count, int messages, int window, int qos) {
  begin();
  int sent = 0, seen = 0;
  double start = now(), progress = start;
  while ((received < messages || (qos && acknowledged < messages)) && now() - start < LIMIT_SECONDS) {
    while (sent < messages && sent - received < window) {
      client_t *device = &clients[first + sent++ % count], *sender = is_command ? &clients[0] : device;
      if (sender->stage != READY) continue;
      append_publish(sender, device, topic_of(device, is_command ? "command" : "state"), qos);
      flush_out(sender);
    }
    turn(100);
    if (received != seen) seen = received, progress = now();
    else if (now() - progress > STALL_SECONDS) break;
  }
  done = received;
  failed += messages - received;
  report(now() - start);
}

static void run_echo(int client, int messages) {
  begin();
  client_t *c = &clients[client];
  double start = now();
  for (int i = 0; i < messages && c->stage == READY && now() - start < LIMIT_SECONDS; i++) {
    double sent_at = now();
    append_publish(c, c, topic_of(c, "command"), 0);
    flush_out(c);
    while (received <= i && c->stage == READY && now() - sent_at < STALL_SECONDS) turn(1000);
    if (received <= i) break;
  }
  done = received;
  failed = messages - received;
  report(now() - start);
}

// By the clock, not one by one: a server that stalls has to be seen by every message that was due meanwhile.
static void run_beat(int client, int rate, int qos) {
  begin();
  times_acknowledgements = qos;
  int *back = qos ? &acknowledged : &received;
  client_t *c = &clients[client];
  int sent = 0;
  double start = now(), seconds = 0;
  while (!is_told_to_stop() && seconds < LIMIT_SECONDS) {
    for (int due = seconds * rate; sent < due; sent++) {
      if (c->stage != READY) continue;
      append_publish(c, c, topic_of(c, "command"), qos);
      flush_out(c);
    }
    turn(1);
    seconds = now() - start;
  }
  while (*back < sent && c->stage == READY && now() - start < seconds + DRAIN_SECONDS) turn(10);
  done = *back;
  failed = sent - *back;
  for (int i = 0; i < failed; i++) note_seconds(DRAIN_SECONDS);
  report(seconds);
}

static void run_pace(int first, int count, int rate) {
  begin();
  int sent = 0;
  double start = now(), seconds = 0;
  while (!is_told_to_stop() && seconds < LIMIT_SECONDS) {
    for (int due = seconds * rate; sent < due; sent++) {
      client_t *c = &clients[first + sent % count];
      if (c->stage != READY) continue;
      append_publish(c, c, topic_of(c, "state"), 0);
      flush_out(c);
    }
    turn(1);
    seconds = now() - start;
  }
  while (received < sent && now() - start < seconds + DRAIN_SECONDS) turn(10);
  done = received;
  failed += sent - received;
  report(seconds);
}

// How much of it reaches the back end is the broker's to decide, so nothing here counts as failed but a closed connection.
static void run_flood(int client) {
  begin();
  client_t *c = &clients[client];
  double start = now();
  while (!is_told_to_stop() && c->stage == READY && now() - start < LIMIT_SECONDS) {
    while (c->unsent_size < FLOOD_BYTES) append_publish(c, c, topic_of(c, "state"), 0);
    flush_out(c);
    turn(10);
  }
  done = received;
  report(now() - start);
}

static void run(const char *line) {
  char name[16] = "";
  int a = 0, b = 0, c = 0, d = 0, e = 0;
  sscanf(line, "%15s %d %d %d %d %d", name, &a, &b, &c, &d, &e);
#define IS(x) (!strcmp(name, x))
  if (IS("connect") || IS("churn")) run_connect(a, b, c, d, IS("connect"));
  else if (IS("close")) run_close(a, b);
  else if (IS("listen")) run_listen(a);
  else if (IS("state") || IS("command")) run_messages(IS("command"), a, b, c, d, e);
  else if (IS("share")) run_share(a, b, c);
  else if (IS("heard")) print_heard(a, b);
  else if (IS("crowd") || IS("orders")) run_crowd(IS("orders"), a, b, c, d);
  else if (IS("echo")) run_echo(a, b);
  else if (IS("beat")) run_beat(a, b, c);
  else if (IS("pace")) run_pace(a, b, c);
  else if (IS("flood")) run_flood(a);
  else if (!IS("stop")) fprintf(stderr, "unknown command: %s", line), exit(2);
}

static void load_clients(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) perror(path), exit(2);
  char line[LINE];
  int room = 0;
  while (fgets(line, sizeof line, file)) {
    char *username = strchr(line, '\t'), *password = username ? strchr(username + 1, '\t') : NULL;
    if (!password) continue;
    *username++ = *password++ = 0;
    password[strcspn(password, "\n")] = 0;
    if (strlen(line) + 32 > TEXT || strlen(username) > TEXT || strlen(password) > TEXT) continue;
    if (client_count == room) clients = realloc(clients, (room = room * 2 + 1024) * sizeof *clients);
    clients[client_count++] = (client_t){
        .wire.fd = -1, .client_id = strdup(line), .username = strdup(username), .password = strdup(password)};
  }
  fclose(file);
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 6) return fprintf(stderr, "usage: loadgen HOST PORT CREDENTIALS [LEVEL [tcp|tls|ws]]\n"), 2;
  if (argc > 4) level = atoi(argv[4]);
  if (argc > 5) transport = !strcmp(argv[5], "tls") ? TLS : !strcmp(argv[5], "ws") ? WEBSOCKET : TCP;
  prepare_transport();
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  broker.sin_family = AF_INET, broker.sin_port = htons(atoi(argv[2]));
  if (inet_pton(AF_INET, argv[1], &broker.sin_addr) != 1) return 2;
  load_clients(argv[3]);
  poller = epoll_create1(0);
  char line[LINE];
  while (fgets(line, sizeof line, stdin)) run(line);
  return 0;
}
