/* status.c - one table: what curl and HTTP say, as errno. */
#include <errno.h>

#include "http/private.h"

static const struct {
	int status, err;
} statuses[] = {
	{400, EINVAL}, {401, EACCES}, {402, EDQUOT}, {403, EACCES}, {404, ENOENT}, {405, ENOTSUP}, {406, EPROTO}, {407, EACCES},
	{408, ETIMEDOUT}, {409, EEXIST}, {410, ENOENT}, {411, EPROTO}, {412, ESTALE}, {413, EFBIG}, {414, ENAMETOOLONG},
	{415, EINVAL}, {416, ESTALE}, {422, EINVAL}, {423, EBUSY}, {425, EAGAIN}, {429, EAGAIN}, {451, EACCES}, {501, ENOTSUP},
	{502, EIO}, {503, EAGAIN}, {504, ETIMEDOUT}, {507, ENOSPC},
};

int http_status_errno(int status)
{
	if (status >= 200 && status < 300)
		return 0;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == status)
			return -statuses[i].err;
	if (status >= 300 && status < 400)
		return -EPROTO;
	return status >= 400 && status < 500 ? -EINVAL : -EIO;
}

#define ALWAYS 1000000
#define FEW 2                   /* it may be a passing fault, but rarely is: a person is waiting for the message */

static const struct {
	CURLcode rc;
	int err;
	unsigned repeats;
} codes[] = {
	{CURLE_UNSUPPORTED_PROTOCOL, EPROTO, 0},
	{CURLE_URL_MALFORMAT, EINVAL, 0},
	{CURLE_COULDNT_RESOLVE_PROXY, EHOSTUNREACH, ALWAYS},
	{CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH, ALWAYS},
	{CURLE_COULDNT_CONNECT, ECONNREFUSED, ALWAYS},
	{CURLE_WEIRD_SERVER_REPLY, EPROTO, FEW},
	{CURLE_HTTP2, EPROTO, ALWAYS},
	{CURLE_HTTP2_STREAM, ECONNRESET, ALWAYS},
	{CURLE_PARTIAL_FILE, EIO, ALWAYS},
	{CURLE_WRITE_ERROR, EIO, 0},
	{CURLE_OUT_OF_MEMORY, ENOMEM, 0},
	{CURLE_OPERATION_TIMEDOUT, ETIMEDOUT, ALWAYS},
	{CURLE_GOT_NOTHING, ECONNRESET, ALWAYS},
	{CURLE_SEND_ERROR, ECONNRESET, ALWAYS},
	{CURLE_RECV_ERROR, ECONNRESET, ALWAYS},
	{CURLE_ABORTED_BY_CALLBACK, ECONNRESET, ALWAYS},        /* request.c: it would have been sent twice */
	{CURLE_SEND_FAIL_REWIND, ECONNRESET, ALWAYS},
	{CURLE_SSL_CONNECT_ERROR, EPROTO, FEW},
	{CURLE_SSL_CIPHER, EPROTO, 0},
	{CURLE_SSL_CERTPROBLEM, EACCES, 0},
	{CURLE_PEER_FAILED_VERIFICATION, EACCES, 0},
	{CURLE_SSL_CACERT_BADFILE, EACCES, 0},
	{CURLE_SSL_ISSUER_ERROR, EACCES, 0},
	{CURLE_SSL_INVALIDCERTSTATUS, EACCES, 0},
};

int http_curl_errno(CURLcode rc, unsigned *ret_repeats)
{
	*ret_repeats = 0;
	if (rc == CURLE_OK)
		return 0;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].rc == rc) {
			*ret_repeats = codes[i].repeats;
			return -codes[i].err;
		}
	return -EIO;
}
