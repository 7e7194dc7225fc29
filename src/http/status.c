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

static const struct {
	CURLcode rc;
	int err;
	bool retryable;
} codes[] = {
	{CURLE_UNSUPPORTED_PROTOCOL, EINVAL, false}, {CURLE_URL_MALFORMAT, EINVAL, false},
	{CURLE_COULDNT_RESOLVE_PROXY, EHOSTUNREACH, true}, {CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH, true},
	{CURLE_COULDNT_CONNECT, ECONNREFUSED, true}, {CURLE_WEIRD_SERVER_REPLY, EPROTO, true},
	{CURLE_HTTP2, EPROTO, true}, {CURLE_PARTIAL_FILE, EIO, true}, {CURLE_WRITE_ERROR, EIO, false},
	{CURLE_OUT_OF_MEMORY, ENOMEM, false}, {CURLE_OPERATION_TIMEDOUT, ETIMEDOUT, true},
	{CURLE_SSL_CONNECT_ERROR, EPROTO, true}, {CURLE_GOT_NOTHING, ECONNRESET, true}, {CURLE_SEND_ERROR, ECONNRESET, true},
	{CURLE_RECV_ERROR, ECONNRESET, true}, {CURLE_SSL_CERTPROBLEM, EACCES, false}, {CURLE_SSL_CIPHER, EPROTO, false},
	{CURLE_PEER_FAILED_VERIFICATION, EACCES, false}, {CURLE_SSL_CACERT_BADFILE, EACCES, false},
	{CURLE_SSL_ISSUER_ERROR, EACCES, false}, {CURLE_SSL_INVALIDCERTSTATUS, EACCES, false}, {CURLE_HTTP2_STREAM, ECONNRESET, true},
};

int http_curl_errno(CURLcode rc, bool *ret_retryable)
{
	*ret_retryable = false;
	if (rc == CURLE_OK)
		return 0;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].rc == rc) {
			*ret_retryable = codes[i].retryable;
			return -codes[i].err;
		}
	return -EIO;
}
