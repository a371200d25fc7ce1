/*
 * keelson-cni: the exec binary that container runtimes run for CNI.
 *
 * It passes the call (environment and standard input) to the keelson agent over a unix socket,
 * prints the answer and exits with its status. It has no state, so it may be killed at any time. It
 * does itself what must work without an agent: DEL (queued in a file), STATUS (tolerated for a
 * while), VERSION, and the loopback plugin when it is run under that name.
 *
 * node-agent/cni/frame.ts describes the protocol with the agent.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/keelson/cni.sock"
#define MAGIC "keelson-cni/1"
#define MAX_FRAME (8u * 1024 * 1024)
#define MAX_QUEUED 1024
#define STATUS_GRACE_S 30
#define MAX_DEPTH 512

/* Codes of the CNI specification. */
enum { E_ENV = 4, E_IO = 5, E_DECODE = 6, E_CONFIG = 7, E_NETNS = 8, E_AGAIN = 11, E_STATUS = 50 };

extern char **environ;

struct bytes {
	char *data;
	size_t length, capacity;
};

static void append(struct bytes *to, const void *data, size_t length)
{
	if (to->length + length > to->capacity) {
		to->capacity = (to->length + length) * 2 + 256;
		to->data = realloc(to->data, to->capacity);
		if (to->data == NULL) {
			fputs("keelson-cni: out of memory\n", stderr);
			_exit(1);
		}
	}
	if (length > 0)
		memcpy(to->data + to->length, data, length);
	to->length += length;
}

static void append_text(struct bytes *to, const char *text)
{
	append(to, text, strlen(text));
}

/* ---- answers ---- */

/* The version of the configuration, once it is read; error answers repeat it. */
static char stated_version[32] = "1.0.0";

static void write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, data, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			_exit(1);
		data += written;
		length -= (size_t)written;
	}
}

static void append_json_string(struct bytes *to, const char *text)
{
	append(to, "\"", 1);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		char escape[8];
		if (c == '"' || c == '\\')
			append(to, (char[]){ '\\', (char)c }, 2);
		else if (c < 0x20) {
			snprintf(escape, sizeof escape, "\\u%04x", c);
			append_text(to, escape);
		} else
			append(to, text, 1);
	}
	append(to, "\"", 1);
}

__attribute__((format(printf, 2, 3), noreturn)) static void fail(int code, const char *format, ...)
{
	char message[4096], number[32];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);

	struct bytes out = { 0 };
	append_text(&out, "{\"cniVersion\":");
	append_json_string(&out, stated_version);
	snprintf(number, sizeof number, ",\"code\":%d,\"msg\":", code);
	append_text(&out, number);
	append_json_string(&out, message);
	append_text(&out, "}\n");
	write_all(STDOUT_FILENO, out.data, out.length);
	exit(1);
}

/* ---- the configuration: one key of a JSON object ---- */

struct cursor {
	const char *at, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

static bool take(struct cursor *c, char expected)
{
	if (c->at >= c->end || *c->at != expected)
		return false;
	c->at++;
	return true;
}

static int hex4(struct cursor *c)
{
	int value = 0;
	if (c->end - c->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char d = *c->at++;
		int digit = d >= '0' && d <= '9'   ? d - '0'
			    : d >= 'a' && d <= 'f' ? d - 'a' + 10
			    : d >= 'A' && d <= 'F' ? d - 'A' + 10
						   : -1;
		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static void append_utf8(struct bytes *to, unsigned int point)
{
	char out[4];
	if (point < 0x80) {
		out[0] = (char)point;
		append(to, out, 1);
	} else if (point < 0x800) {
		out[0] = (char)(0xc0 | point >> 6);
		out[1] = (char)(0x80 | (point & 0x3f));
		append(to, out, 2);
	} else if (point < 0x10000) {
		out[0] = (char)(0xe0 | point >> 12);
		out[1] = (char)(0x80 | (point >> 6 & 0x3f));
		out[2] = (char)(0x80 | (point & 0x3f));
		append(to, out, 3);
	} else {
		out[0] = (char)(0xf0 | point >> 18);
		out[1] = (char)(0x80 | (point >> 12 & 0x3f));
		out[2] = (char)(0x80 | (point >> 6 & 0x3f));
		out[3] = (char)(0x80 | (point & 0x3f));
		append(to, out, 4);
	}
}

/* The \uXXXX after its `u`, joined with the next one when the two are a surrogate pair. */
static bool read_unicode_escape(struct cursor *c, struct bytes *to)
{
	int unit = hex4(c);
	if (unit < 0)
		return false;
	unsigned int point = (unsigned int)unit;
	if (point >= 0xd800 && point < 0xdc00 && c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u') {
		struct cursor ahead = { c->at + 2, c->end };
		int low = hex4(&ahead);
		if (low >= 0xdc00 && low < 0xe000) {
			point = 0x10000 + ((point - 0xd800) << 10) + ((unsigned int)low - 0xdc00);
			*c = ahead;
		}
	}
	append_utf8(to, point >= 0xd800 && point < 0xe000 ? 0xfffd : point);
	return true;
}

static bool read_string(struct cursor *c, struct bytes *to)
{
	if (!take(c, '"'))
		return false;
	while (c->at < c->end) {
		char ch = *c->at++;
		if (ch == '"')
			return true;
		if ((unsigned char)ch < 0x20)
			return false;
		if (ch != '\\') {
			append(to, &ch, 1);
			continue;
		}
		if (c->at >= c->end)
			return false;
		char escape = *c->at++;
		if (escape == 'u') {
			if (!read_unicode_escape(c, to))
				return false;
			continue;
		}
		static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
		const char *known = strchr(from, escape);
		if (known == NULL || escape == '\0')
			return false;
		append(to, &into[known - from], 1);
	}
	return false;
}

/* Skips any value. Checks strings and brackets inside; the agent checks the rest. */
static bool skip_value(struct cursor *c)
{
	char closers[MAX_DEPTH];
	size_t depth = 0;
	bool any = false;
	struct bytes ignored = { 0 };
	while (c->at < c->end) {
		char ch = *c->at;
		if (ch == '"') {
			ignored.length = 0;
			if (!read_string(c, &ignored))
				break;
		} else if (ch == '{' || ch == '[') {
			if (depth == MAX_DEPTH)
				break;
			closers[depth++] = ch == '{' ? '}' : ']';
			c->at++;
		} else if (ch == '}' || ch == ']') {
			if (depth == 0)
				break;
			if (closers[--depth] != ch) {
				any = false;
				break;
			}
			c->at++;
		} else if (depth == 0 && (ch == ',' || ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r'))
			break;
		else
			c->at++;
		any = true;
	}
	free(ignored.data);
	return any && depth == 0;
}

struct value {
	bool present, is_string;
	struct bytes text;	      /* decoded, when it is a string; NUL-terminated */
	const char *start, *end; /* as it is written */
};

/* Finds the last `key` at the top of the object, as JSON.parse does; false for other JSON. */
static bool find_key(const char *text, size_t length, const char *key, struct value *found)
{
	struct cursor c = { text, text + length };
	struct bytes name = { 0 };
	bool ok = false;
	skip_space(&c);
	if (!take(&c, '{'))
		goto out;
	skip_space(&c);
	if (take(&c, '}')) {
		ok = true;
		goto out;
	}
	for (;;) {
		name.length = 0;
		skip_space(&c);
		if (!read_string(&c, &name))
			goto out;
		skip_space(&c);
		if (!take(&c, ':'))
			goto out;
		skip_space(&c);
		const char *start = c.at;
		if (name.length == strlen(key) && (name.length == 0 || memcmp(name.data, key, name.length) == 0)) {
			found->present = true;
			found->is_string = c.at < c.end && *c.at == '"';
			found->text.length = 0;
			if (found->is_string ? !read_string(&c, &found->text) : !skip_value(&c))
				goto out;
			found->start = start;
			found->end = c.at;
			append(&found->text, "", 1);
		} else if (!skip_value(&c))
			goto out;
		skip_space(&c);
		if (take(&c, ','))
			continue;
		ok = take(&c, '}');
		break;
	}
out:
	free(name.data);
	skip_space(&c);
	return ok && c.at == c.end;
}

static struct value get_key(const struct bytes *config, const char *key)
{
	struct value value = { 0 };
	if (!find_key(config->data, config->length, key, &value))
		fail(E_DECODE, "the network configuration on standard input is not a JSON object");
	return value;
}

static bool has_nul(const struct value *value)
{
	return strlen(value->text.data) + 1 != value->text.length;
}

static void read_stated_version(const struct bytes *config)
{
	struct value version = get_key(config, "cniVersion");
	if (version.is_string && version.text.length <= sizeof stated_version &&
	    strspn(version.text.data, "0123456789.") + 1 == version.text.length && version.text.length > 1)
		memcpy(stated_version, version.text.data, version.text.length);
}

static const char *read_socket_path(const struct bytes *config)
{
	struct value agent = get_key(config, "agent");
	if (!agent.present)
		return DEFAULT_SOCKET;
	struct sockaddr_un limit;
	if (!agent.is_string || has_nul(&agent) || agent.text.data[0] != '/')
		fail(E_CONFIG, "\"agent\" in the network configuration is not an absolute path");
	/* The queue and the heartbeat file are named after the socket, with at most 32 bytes more. */
	if (agent.text.length > sizeof limit.sun_path)
		fail(E_CONFIG, "\"agent\" in the network configuration has %zu bytes; a socket path has at most %zu",
		     agent.text.length - 1, sizeof limit.sun_path - 1);
	return agent.text.data;
}

static struct bytes read_input(void)
{
	struct bytes input = { 0 };
	char buffer[16384];
	for (;;) {
		ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			fail(E_IO, "cannot read standard input: %s", strerror(errno));
		if (got == 0)
			return input;
		append(&input, buffer, (size_t)got);
		if (input.length > MAX_FRAME / 2)
			fail(E_CONFIG, "the network configuration is larger than %u bytes", MAX_FRAME / 2);
	}
}

static const char *env(const char *name)
{
	const char *value = getenv(name);
	return value == NULL ? "" : value;
}

/* ---- the agent ---- */

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static struct bytes make_request(const struct bytes *input)
{
	struct bytes payload = { 0 };
	append(&payload, MAGIC, sizeof MAGIC);
	for (char **variable = environ; *variable != NULL; variable++) {
		const char *v = *variable;
		/* W3C trace context (CNI 1.1). */
		if (strncmp(v, "CNI_", 4) == 0 || strncmp(v, "TRACEPARENT=", 12) == 0 ||
		    strncmp(v, "TRACESTATE=", 11) == 0 || strncmp(v, "BAGGAGE=", 8) == 0)
			append(&payload, v, strlen(v) + 1);
	}
	append(&payload, "", 1);
	append(&payload, input->data, input->length);
	return payload;
}

/* Returns a connection, or -1 with errno. Waits until `deadline` for an agent if `patient`, and for
 * a full backlog in any case. */
static int connect_agent(const char *path, int64_t deadline, bool patient)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, path, strlen(path) + 1);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -1;
		if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
			return fd;
		int reason = errno;
		close(fd);
		errno = reason;
		bool absent = reason == ENOENT || reason == ECONNREFUSED;
		bool again = reason == EAGAIN || reason == EINTR || (absent && patient);
		if (!again || now_ms() >= deadline)
			return -1;
		pause_ms(reason == EAGAIN ? 2 : 25);
	}
}

static bool wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		int64_t left = deadline - now_ms();
		if (left <= 0) {
			errno = ETIMEDOUT;
			return false;
		}
		struct pollfd p = { .fd = fd, .events = events };
		int ready = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR)
			return false;
	}
}

static bool send_all(int fd, const char *data, size_t length, int64_t deadline)
{
	while (length > 0) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
		if (sent > 0) {
			data += sent;
			length -= (size_t)sent;
		} else if (errno == EAGAIN) {
			if (!wait_for(fd, POLLOUT, deadline))
				return false;
		} else if (errno != EINTR)
			return false;
	}
	return true;
}

static bool receive_all(int fd, char *data, size_t length, int64_t deadline)
{
	while (length > 0) {
		ssize_t got = recv(fd, data, length, 0);
		if (got > 0) {
			data += got;
			length -= (size_t)got;
		} else if (got == 0) {
			errno = ECONNRESET;
			return false;
		} else if (errno == EAGAIN) {
			if (!wait_for(fd, POLLIN, deadline))
				return false;
		} else if (errno != EINTR)
			return false;
	}
	return true;
}

/* Sends a frame and reads the answer; false with errno when the agent did not answer in time. */
static bool exchange(int fd, const struct bytes *request, struct bytes *answer, int64_t deadline)
{
	unsigned char header[4] = { (unsigned char)(request->length >> 24), (unsigned char)(request->length >> 16),
				    (unsigned char)(request->length >> 8), (unsigned char)request->length };
	if (!send_all(fd, (char *)header, sizeof header, deadline) ||
	    !send_all(fd, request->data, request->length, deadline) ||
	    !receive_all(fd, (char *)header, sizeof header, deadline))
		return false;
	size_t length = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
	if (length < 1 || length > MAX_FRAME) {
		errno = EPROTO;
		return false;
	}
	answer->data = malloc(length);
	answer->length = length;
	return answer->data != NULL && receive_all(fd, answer->data, length, deadline);
}

/* ---- DEL without an agent ---- */

static uint64_t hash(uint64_t seed, const char *text)
{
	for (; *text != '\0'; text++)
		seed = (seed ^ (unsigned char)*text) * 0x100000001b3u; /* FNV-1a */
	return seed;
}

static int count_entries(const char *directory)
{
	DIR *d = opendir(directory);
	int count = 0;
	if (d == NULL)
		return 0;
	while (readdir(d) != NULL)
		count++;
	closedir(d);
	return count - 2;
}

/* Writes the request to the agent's queue; false with a reason in `why`. */
static bool queue_delete(const char *socket_path, const struct bytes *request, char *path, size_t size, const char **why)
{
	char directory[256], temporary[512];
	snprintf(directory, sizeof directory, "%s.queue", socket_path);
	if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
		/* The socket's directory is absent: no agent has run since boot, so nothing has to be deleted. */
		if (errno == ENOENT)
			return path[0] = '\0', true;
		*why = strerror(errno);
		return false;
	}
	/* One file per container and interface, however often its DEL is repeated. */
	uint64_t name = hash(hash(0xcbf29ce484222325u, env("CNI_CONTAINERID")) ^ '/', env("CNI_IFNAME"));
	uint64_t more = hash(hash(name, env("CNI_IFNAME")) ^ '/', env("CNI_CONTAINERID"));
	snprintf(path, size, "%s/%016llx%016llx", directory, (unsigned long long)name, (unsigned long long)more);
	if (access(path, F_OK) != 0 && count_entries(directory) >= MAX_QUEUED) {
		*why = "the queue is full";
		return false;
	}
	snprintf(temporary, sizeof temporary, "%s/.%ld", directory, (long)getpid());
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool written = fd >= 0 && write(fd, request->data, request->length) == (ssize_t)request->length;
	if (fd >= 0 && close(fd) != 0)
		written = false;
	if (written && rename(temporary, path) == 0)
		return true;
	*why = strerror(errno);
	unlink(temporary);
	return false;
}

/* ---- STATUS without an agent ---- */

/* Seconds since the agent's last heartbeat, or -1 if it had none since boot. */
static long seconds_absent(const char *socket_path)
{
	char path[256];
	struct stat s;
	snprintf(path, sizeof path, "%s.alive", socket_path);
	if (stat(path, &s) != 0)
		return -1;
	long seconds = (long)(time(NULL) - s.st_mtime);
	return seconds < 0 ? 0 : seconds;
}

/* A restart of the agent must not make the node NotReady, which evicts pods. */
__attribute__((noreturn)) static void answer_status(const char *socket_path, const char *reason)
{
	long absent = seconds_absent(socket_path);
	if (absent >= 0 && absent <= STATUS_GRACE_S)
		exit(0);
	if (absent < 0)
		fail(E_STATUS, "the keelson agent has not served %s since boot (%s); check that it runs", socket_path, reason);
	fail(E_STATUS, "the keelson agent at %s has had no heartbeat for %ld s (%s); check that it runs", socket_path, absent, reason);
}

/* ---- the calls ---- */

__attribute__((noreturn)) static void print_answer(const struct bytes *answer)
{
	write_all(STDOUT_FILENO, answer->data + 1, answer->length - 1);
	exit((unsigned char)answer->data[0]);
}

static bool try_agent(const char *path, const struct bytes *request, struct bytes *answer, int64_t connect_by, int64_t answer_by,
		      bool patient)
{
	int fd = connect_agent(path, connect_by, patient);
	if (fd < 0)
		return false;
	bool answered = exchange(fd, request, answer, answer_by);
	int reason = errno;
	close(fd);
	errno = reason;
	return answered;
}

__attribute__((noreturn)) static void call_agent(const char *command, const struct bytes *input)
{
	const char *path = read_socket_path(input);
	struct bytes request = make_request(input), answer = { 0 };
	int64_t start = now_ms();

	if (strcmp(command, "STATUS") == 0) {
		/* kubelet calls this every few seconds, and containerd waits without a deadline. */
		if (try_agent(path, &request, &answer, start + 300, start + 800, false))
			print_answer(&answer);
		answer_status(path, strerror(errno));
	}
	if (strcmp(command, "DEL") == 0) {
		char queued[512];
		const char *why = "";
		if (try_agent(path, &request, &answer, start + 2000, start + 30000, false))
			print_answer(&answer);
		int reason = errno;
		if (!queue_delete(path, &request, queued, sizeof queued, &why))
			fail(E_AGAIN, "the keelson agent at %s did not answer (%s) and DEL cannot be queued: %s", path,
			     strerror(reason), why);
		/* The agent may have started meanwhile, and read the queue before the file existed. */
		if (queued[0] != '\0' && reason != ETIMEDOUT &&
		    try_agent(path, &request, &answer, now_ms(), now_ms() + 30000, false)) {
			unlink(queued);
			print_answer(&answer);
		}
		exit(0);
	}
	bool add = strcmp(command, "ADD") == 0;
	if (try_agent(path, &request, &answer, start + (add ? 5000 : 1000), start + 90000, true))
		print_answer(&answer);
	fail(E_AGAIN, "the keelson agent at %s did not answer %s (%s); check that it runs on this node", path, command,
	     strerror(errno));
}

/* ---- the loopback plugin ---- */

static bool has_ipv6_loopback(void)
{
	FILE *list = fopen("/proc/thread-self/net/if_inet6", "re");
	char line[256];
	bool found = false;
	while (list != NULL && !found && fgets(line, sizeof line, list) != NULL)
		found = strncmp(line, "00000000000000000000000000000001 ", 33) == 0;
	if (list != NULL)
		fclose(list);
	return found;
}

static void print_loopback_result(const struct bytes *input, const char *netns)
{
	struct value before = get_key(input, "prevResult");
	struct bytes out = { 0 };
	if (before.present && *before.start == '{') {
		append(&out, before.start, (size_t)(before.end - before.start));
	} else {
		/* Before 1.0.0 an address has its version; before 0.3.0 a result has no interfaces. */
		bool first_shape = strncmp(stated_version, "0.1.", 4) == 0 || strncmp(stated_version, "0.2.", 4) == 0;
		bool says_version = stated_version[0] == '0';
		append_text(&out, "{\"cniVersion\":");
		append_json_string(&out, stated_version);
		if (first_shape) {
			append_text(&out, ",\"ip4\":{\"ip\":\"127.0.0.1/8\"}");
		} else {
			append_text(&out, ",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\",\"sandbox\":");
			append_json_string(&out, netns);
			append_text(&out, "}],\"ips\":[{");
			append_text(&out, says_version ? "\"version\":\"4\"," : "");
			append_text(&out, "\"interface\":0,\"address\":\"127.0.0.1/8\"}");
			if (has_ipv6_loopback()) {
				append_text(&out, ",{");
				append_text(&out, says_version ? "\"version\":\"6\"," : "");
				append_text(&out, "\"interface\":0,\"address\":\"::1/128\"}");
			}
			append_text(&out, "]");
		}
		append_text(&out, ",\"dns\":{}}");
	}
	append_text(&out, "\n");
	write_all(STDOUT_FILENO, out.data, out.length);
}

/* Runtimes pass no configuration with an agent to this plugin, and it needs none. */
__attribute__((noreturn)) static void be_loopback(const char *command, const struct bytes *input)
{
	const char *netns = env("CNI_NETNS");
	bool add = strcmp(command, "ADD") == 0, del = strcmp(command, "DEL") == 0, check = strcmp(command, "CHECK") == 0;
	if (!add && !del && !check)
		exit(0);
	if (netns[0] == '\0') {
		if (del)
			exit(0);
		fail(E_ENV, "required environment variables missing: CNI_NETNS");
	}
	struct stat target, own;
	int fd = open(netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &target) != 0 || stat("/proc/self/ns/net", &own) != 0) {
		if (del)
			exit(0);
		fail(E_NETNS, "cannot open network namespace %s: %s", netns, strerror(errno));
	}
	/* The node's own loopback interface must not change. */
	if (target.st_ino == own.st_ino && target.st_dev == own.st_dev)
		fail(E_NETNS, "%s is the network namespace of the node itself", netns);
	struct ifreq lo = { .ifr_name = "lo" };
	int control = -1;
	if (setns(fd, CLONE_NEWNET) != 0 || (control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 ||
	    ioctl(control, SIOCGIFFLAGS, &lo) != 0) {
		if (del)
			exit(0);
		fail(E_NETNS, "cannot enter network namespace %s: %s", netns, strerror(errno));
	}
	if (check) {
		if ((lo.ifr_flags & IFF_UP) == 0)
			fail(101, "lo in %s is down", netns);
		exit(0);
	}
	if (add)
		lo.ifr_flags = (short)(lo.ifr_flags | IFF_UP);
	else
		lo.ifr_flags = (short)(lo.ifr_flags & ~IFF_UP);
	if (ioctl(control, SIOCSIFFLAGS, &lo) != 0 && add)
		fail(E_IO, "cannot bring up lo in %s: %s", netns, strerror(errno));
	if (add)
		print_loopback_result(input, netns);
	exit(0);
}

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "keelson-cni";
	const char *command = env("CNI_COMMAND");
	if (command[0] == '\0') {
		fprintf(stderr,
			"%s: CNI plugin of Keelson, for container runtimes to execute.\n"
			"CNI versions 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n",
			name);
		return 0;
	}
	static const char *const commands[] = { "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION" };
	bool known = false;
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		known = known || strcmp(command, commands[i]) == 0;
	struct bytes input = read_input();
	if (strcmp(command, "VERSION") != 0 || input.length > 0)
		read_stated_version(&input);
	if (!known)
		fail(E_ENV, "CNI_COMMAND is %s; expected one of ADD, DEL, CHECK, GC, STATUS, VERSION", command);
	if (strcmp(command, "VERSION") == 0) {
		printf("{\"cniVersion\":\"%s\",\"supportedVersions\":"
		       "[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n",
		       stated_version);
		return fflush(stdout) == 0 ? 0 : 1;
	}
	if (strcmp(name, "loopback") == 0)
		be_loopback(command, &input);
	call_agent(command, &input);
}
