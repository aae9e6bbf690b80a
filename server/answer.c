// See answer.h.
#include "server/answer.h"

#include "base/log.h"
#include "server/conditions.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

void answer_destroy_response(struct MHD_Response **response)
{
    if (*response)
        MHD_destroy_response(*response);
    *response = NULL;
}

bool answer_add(struct MHD_Response *response, const char *name, const char *value)
{
    return value[0] == '\0' || MHD_add_response_header(response, name, value) == MHD_YES;
}

int answer_make(unsigned status, const char *content_type, const char *cache_control, const void *text, size_t n,
                struct answer *ret)
{
    struct MHD_Response *response CLEANUP_RESPONSE =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!response || !answer_add(response, "Content-Type", content_type) ||
        !answer_add(response, "Cache-Control", cache_control) ||
        !answer_add(response, "X-Content-Type-Options", "nosniff"))
        return -ENOMEM;
    *ret = (struct answer){.status = status, .bytes = n, .response = TAKE_PTR(response)};
    return 0;
}

const char *answer_header(struct MHD_Connection *connection, const char *name)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return value ? value : "";
}

bool answer_is_known(struct MHD_Connection *connection, const char *tag)
{
    return conditions_tag_in_list(slice_of(answer_header(connection, "If-None-Match")), tag);
}

bool answer_has_body(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding");
}

enum MHD_Result answer_send(const struct request *request, int made, struct answer *answer, struct access_log *log,
                            bool last)
{
    const union MHD_ConnectionInfo *client =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    if (made < 0 || (last && !answer_add(answer->response, "Connection", "close"))) {
        log_warning("not enough memory for an answer, closing a connection");
        answer_destroy_response(&answer->response);
        return MHD_NO;
    }
    const struct access_log_line line = {
        .client = client ? client->client_addr : NULL,
        .method = request->method,
        .target = request->target,
        .range = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Range"),
        .status = answer->status,
        .bytes = strcmp(request->method, "HEAD") == 0 ? 0 : answer->bytes,
    };
    access_log_write(log, &line);

    enum MHD_Result result = MHD_queue_response(request->connection, answer->status, answer->response);
    answer_destroy_response(&answer->response); // drops our reference; libmicrohttpd holds its own
    return result;
}
