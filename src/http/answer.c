/* answer.c - what comes back: its head is held against what was asked, and only what was asked is handed over.
 *
 * Servers answer a range with another range, with the whole, or with the whole under the name of a part (Girder, past the
 * end). So a body is wanted only when its head says that it begins where we asked and belongs to content of the length that
 * we know; of it not a byte more than was asked for goes on, and one byte less is a fault.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/private.h"

static uint64_t wanted_bytes(const struct http_transfer *t)
{
	if (t->has_range)
		return t->last - t->first + 1;
	return t->expect_length ? t->total : UINT64_MAX;
}

static bool is_final_status(const char *line, size_t n)
{
	const char *space = memchr(line, ' ', n);

	/* 1xx are words on the way: the answer comes after them. */
	return space && (size_t)(space - line) + 1 < n && space[1] >= '2' && space[1] <= '9';
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * n;

	host_heard(t->http, t->host);
	if (len >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		buf_clear(&t->reply.headers);
		if (is_final_status(p, len) && !t->answered) {
			t->answered = true;
			t->mark_at = clock_mono_ms();
		}
	}
	while (len && (p[len - 1] == '\n' || p[len - 1] == '\r'))
		len--;
	if (len && (buf_add(&t->reply.headers, p, len) < 0 || buf_addc(&t->reply.headers, '\n') < 0)) {
		transfer_fault(t, -EMSGSIZE, false, "the headers of the answer are too long");
		return 0;
	}
	return size * n;
}

static bool changed_validator(struct http_transfer *t)
{
	char now[HTTP_VALIDATOR_MAX];

	if (http_header(&t->reply, "ETag", now, sizeof(now)) < 0 && http_header(&t->reply, "Last-Modified", now, sizeof(now)) < 0)
		return false;
	if (t->done_bytes && t->validator[0])
		return strcmp(now, t->validator) != 0;
	memcpy(t->validator, now, sizeof(now));
	return false;
}

/* Is this still the content that it was, as far as its head tells? */
static int judge_version(struct http_transfer *t, uint64_t total)
{
	if (total != UINT64_MAX &&
	    ((t->total != UINT64_MAX && total != t->total) || (t->done_bytes && t->seen_total != UINT64_MAX && total != t->seen_total)))
		transfer_fault(t, -ESTALE, false, "the length of the content is not what it was");
	else if (changed_validator(t))
		transfer_fault(t, -ESTALE, false, "the content changed while it was read");
	else if (total != UINT64_MAX)
		t->seen_total = total;
	return t->stop;
}

static int judge_part(struct http_transfer *t, curl_off_t length)
{
	char value[200];
	uint64_t first, last, total;

	if (!t->ranged)
		transfer_fault(t, -EPROTO, false, "a part was sent where the whole was asked for");
	else if (http_header(&t->reply, "Content-Range", value, sizeof(value)) < 0 ||
	         range_parse_content(value, &first, &last, &total) < 0)
		transfer_fault(t, -EPROTO, false, "a part was sent without a Content-Range that can be read");
	else if (judge_version(t, total) == 0 && first != t->from)
		transfer_fault(t, -EPROTO, false, "another part was sent than the one asked for");
	else if (!t->stop && length >= 0 && (uint64_t)length != last - first + 1)
		transfer_fault(t, -EPROTO, false, "a part was sent whose length is not what its Content-Range says");
	if (!t->stop)
		t->named = last - first + 1;
	return t->stop;
}

static int judge_whole(struct http_transfer *t, curl_off_t length)
{
	if (judge_version(t, length >= 0 ? (uint64_t)length : UINT64_MAX) < 0)
		return t->stop;
	/* A server without ranges: the whole comes, and the part is cut out of it. */
	t->skip = t->from;
	if (t->skip > HTTP_SKIP_MAX)
		transfer_fault(t, -EPROTO, false, "the server sends no parts of its content, and this one lies too far in");
	return t->stop;
}

int answer_judge(struct http_transfer *t)
{
	curl_off_t length = -1;
	long status = 0;

	if (t->judged)
		return t->stop;
	t->judged = true;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->reply.status = (int)status;
	if (status == 206 && !transfer_is(t, "HEAD"))
		t->wanted = judge_part(t, length) == 0;
	else if (status == 200 && (transfer_is(t, "GET") || t->expect_length))
		t->wanted = judge_whole(t, length) == 0;
	else if (status >= 200 && status < 300 && !t->has_range)
		t->wanted = true;
	return t->stop;
}

/* What is wanted of these bytes goes to the reader. The bytes taken, or what curl makes of it. */
static size_t take_wanted(struct http_transfer *t, const char *p, size_t len)
{
	uint64_t left = wanted_bytes(t) == UINT64_MAX ? UINT64_MAX : wanted_bytes(t) - t->done_bytes;
	size_t skip = t->skip < len ? (size_t)t->skip : len, n = len - skip;
	int r = 0;

	if (n > left)
		n = (size_t)left;
	if (n > t->named) {
		/* Of what follows nobody knows where it belongs. */
		transfer_fault(t, -EPROTO, false, "a part was sent that is longer than its Content-Range says");
		return 0;
	}
	if (n && t->on_data)
		r = t->on_data(t->arg, p + skip, n);
	else if (n > t->max_body - t->reply.body.len)
		r = -EMSGSIZE;
	else if (n)
		r = buf_add(&t->reply.body, p + skip, n);
	if (r == HTTP_PAUSE) {
		t->paused = true;
		t->host->paused++;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (r < 0) {
		t->final = true;
		transfer_fault(t, r, false, r == -EMSGSIZE ? "the answer is longer than expected" : "the reader gave up");
		return 0;
	}
	t->skip -= skip;
	t->done_bytes += n;
	if (t->named != UINT64_MAX)
		t->named -= n;
	if (len - skip <= n)
		return len;
	if (!t->has_range)
		transfer_fault(t, -EPROTO, false, "the content is longer than announced");
	t->complete = t->has_range;     /* all that was wanted is here; what follows is not read */
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * n, room, took = len;

	if (answer_judge(t) < 0)
		return 0;
	if (t->probe) {
		t->complete = true;
		return 0;
	}
	if (t->wanted) {
		took = take_wanted(t, p, len);
		if (took == CURL_WRITEFUNC_PAUSE)
			return took;    /* the same bytes come again */
	} else {
		/* An error's page, kept for its words; one without an end is left. */
		room = HTTP_ERROR_BODY_MAX - t->reply.body.len;
		(void)buf_add(&t->reply.body, p, len < room ? len : room);
		if (len > room) {
			t->enough = true;
			took = 0;
		}
	}
	host_heard(t->http, t->host);
	t->attempt_bytes += len;
	atomic_fetch_add_explicit(&t->http->counters.bytes_in, len, memory_order_relaxed);
	return took;
}

void answer_attach(struct http_transfer *t)
{
	buf_done(&t->reply.body);
	buf_done(&t->reply.headers);
	buf_init(&t->reply.headers, t->max_headers);
	buf_init(&t->reply.body, t->max_body > HTTP_ERROR_BODY_MAX ? t->max_body : HTTP_ERROR_BODY_MAX);
	t->reply.status = 0;
	t->reply.message[0] = 0;
	t->answered = t->judged = t->wanted = t->complete = t->enough = t->paused = t->retryable = false;
	t->stop = 0;
	t->skip = 0;
	t->named = UINT64_MAX;
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
}

bool answer_has_all(const struct http_transfer *t)
{
	return t->wanted && t->stop == 0 && wanted_bytes(t) != UINT64_MAX && t->done_bytes == wanted_bytes(t);
}

int answer_finished(struct http_transfer *t)
{
	if (transfer_is(t, "HEAD"))
		return 0;
	if (t->has_range && !t->wanted)
		transfer_fault(t, -EPROTO, false, "the answer to a request for a part is not one");
	else if (wanted_bytes(t) != UINT64_MAX && t->done_bytes < wanted_bytes(t))
		transfer_fault(t, -EIO, true, "the content is shorter than announced");
	return t->stop;
}

bool answer_can_continue(const struct http_transfer *t)
{
	return !t->on_data || !t->done_bytes || t->total != UINT64_MAX || t->seen_total != UINT64_MAX || t->validator[0];
}
