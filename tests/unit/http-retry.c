/* What one attempt came to gives a delay, or an end: a table. */
#include "test.h"

#include "http/private.h"

static const struct http_config config = {.retry_ms = 200, .throttle_ms = 5000, .throttle_max_ms = 900000, .deadline_ms = 60000};

static void test_decisions(void **state)
{
	static const struct {
		const char *what;
		struct retry_in in;
		struct retry_out out;
	} cases[] = {
		{"a refused connection is tried again", {-ECONNREFUSED, 0, true, false, true, 1, -1, 0, 0, 60000, 512}, {true, 200}},
		{"the delay doubles", {-ECONNREFUSED, 0, true, false, true, 3, -1, 0, 0, 60000, 512}, {true, 800}},
		{"and ends growing", {-ECONNREFUSED, 0, true, false, true, 30, -1, 0, 0, 60000, 512}, {true, 8000}},
		{"jitter takes up to a half", {-ECONNREFUSED, 0, true, false, true, 1, -1, 0, 0, 60000, 0}, {true, 100}},
		{"no time is left for another", {-ECONNREFUSED, 0, true, false, true, 1, -1, 0, 0, 150, 512}, {false, 200}},
		{"nobody there at first contact: twice more", {-ECONNREFUSED, 0, true, false, true, 2, -1, 0, 0, 60000, 512, true}, {true, 400}},
		{"and then it is said", {-ECONNREFUSED, 0, true, false, true, 3, -1, 0, 0, 60000, 512, true}, {false, 0}},
		{"a gateway's fault is tried for as long as any", {-EIO, 502, false, true, true, 3, -1, 0, 0, 60000, 512, true}, {true, 800}},
		{"an answer is an answer", {-ENOENT, 404, false, true, true, 1, -1, 0, 0, 60000, 512}, {false, 0}},
		{"so is a server's own fault", {-EIO, 500, false, true, true, 1, -1, 0, 0, 60000, 512}, {false, 0}},
		{"a gateway's is not", {-EIO, 502, false, true, true, 1, -1, 0, 0, 60000, 512}, {true, 200}},
		{"a gateway that saw no answer to a change: doubt", {-ETIMEDOUT, 504, false, true, false, 1, -1, 0, 0, 60000, 512},
		 {false, 0, .in_doubt = true}},
		{"silence after a change was sent: doubt", {-ETIMEDOUT, 0, true, true, false, 1, -1, 0, 0, 60000, 512},
		 {false, 0, .in_doubt = true}},
		{"a change that never left may be sent", {-ECONNREFUSED, 0, true, false, false, 1, -1, 0, 0, 60000, 512}, {true, 200}},
		{"no doubt about what may be repeated", {-ETIMEDOUT, 0, true, true, true, 1, -1, 0, 0, 10, 512}, {false, 200}},
		{"too many requests: the time it names, not counted", {-EAGAIN, 429, false, true, false, 1, 30000, 0, 0, 10, 0},
		 {true, 30000, true, true}},
		{"a little later than named, never sooner", {-EAGAIN, 429, false, true, true, 1, 8000, 0, 0, 10, 512},
		 {true, 8500, true, true}},
		{"no time named: five seconds, counted", {-EAGAIN, 503, false, true, true, 1, -1, 0, 0, 60000, 0}, {true, 5000, true, false}},
		{"doubling while it goes on", {-EAGAIN, 429, false, true, true, 4, -1, 3, 0, 60000, 0}, {true, 40000, true, false}},
		{"until the deadline", {-EAGAIN, 503, false, true, true, 4, -1, 3, 0, 30000, 0}, {false, 0}},
		{"named longer than we wait", {-EAGAIN, 503, false, true, true, 1, 900001, 0, 0, 60000, 0}, {false, 0}},
		{"at once, it says: as any repeat, and counted", {-EAGAIN, 503, false, true, true, 3, 0, 2, 0, 60000, 0}, {true, 800, true, false}},
		{"named for ever in small pieces: counted at last", {-EAGAIN, 429, false, true, true, 900, 1000, 899, 1100000, 500, 0},
		 {false, 0}},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct retry_out out = retry_decide(&cases[i].in, &config);

		if (out.again != cases[i].out.again || out.delay_ms != cases[i].out.delay_ms ||
		    out.throttle != cases[i].out.throttle || out.excused != cases[i].out.excused ||
		    out.in_doubt != cases[i].out.in_doubt)
			fail_msg("%s: again %d, %llu ms, throttle %d, excused %d, doubt %d", cases[i].what, out.again,
			         (unsigned long long)out.delay_ms, out.throttle, out.excused, out.in_doubt);
	}
}

static void test_named_patience_is_never_cut_short(void **state)
{
	for (unsigned dice = 0; dice < 1024; dice++) {
		struct retry_in in = {-EAGAIN, 429, false, true, true, 1, 1000, 0, 0, 60000, dice};
		struct retry_out out = retry_decide(&in, &config);

		assert_true(out.again && out.delay_ms >= 1000 && out.delay_ms <= 1125);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decisions),
		cmocka_unit_test(test_named_patience_is_never_cut_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
