// rondo-server in torture, without its main: one client asks for the catalog and for an object. What it gets is right,
// or it gets an error, or nothing; the server goes on, and the next client is served.
#include "tests/torture/torture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "server/http_server.h"
#include "server/listener.h"

#define OBJECT "objects/ab/abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
#define OBJECT_SIZE 70000u

static char here[200];
static unsigned char object[OBJECT_SIZE];

static void prepare(const char *folder)
{
    char path[400];
    snprintf(here, sizeof(here), "%s", folder);
    for (unsigned i = 0; i < OBJECT_SIZE; i++)
        object[i] = (unsigned char)(i * 2654435761u >> 13);
    snprintf(path, sizeof(path), "%s/objects/ab", folder);
    MUST(io_make_folders(AT_FDCWD, path, 0755));
    snprintf(path, sizeof(path), "%s/%s", folder, OBJECT);
    MUST(io_replace_file(AT_FDCWD, path, object, OBJECT_SIZE, 0644));
    snprintf(path, sizeof(path), "%s/catalog.rondo", folder);
    MUST(io_replace_file(AT_FDCWD, path, "a catalog\n", 10, 0644));
}

// Returns 0 if that was answered as it should be, -EIO if it was refused or cut, TORTURE_WRONG.
static int ask(unsigned port, const char *target, const char *range, const void *expected, size_t n)
{
    static char answer[OBJECT_SIZE + 4096];
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = 10};
    int fd CLEANUP_CLOSE = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t size = 0;
    ssize_t got;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return -EIO;
    dprintf(fd, "GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", target, range);
    while (size < sizeof(answer) - 1 && (got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0)
        size += (size_t)got;
    answer[size] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    if (!body || strncmp(answer, "HTTP/1.1 20", 11) != 0)
        return -EIO;
    body += 4;
    size_t length = size - (size_t)(body - answer);
    if (length > n || memcmp(body, expected, length) != 0)
        return torture_wrong("the answer to %s has other bytes", target);
    return length == n ? 0 : -EIO; // cut: Content-Length tells
}

static int ask_for_all(unsigned port)
{
    int r = ask(port, "catalog.rondo", "", "a catalog\n", 10);
    int s = ask(port, OBJECT, "", object, OBJECT_SIZE);
    int t = ask(port, OBJECT, "Range: bytes=1000-3999\r\n", object + 1000, 3000);
    return r ? r : s ? s : t;
}

static int serve(void)
{
    struct site_files files CLEANUP(site_files_close) = {.folder = -1};
    struct access_log log CLEANUP(access_log_close) = {.fd = -1};
    struct http_server *server CLEANUP(http_server_stop) = NULL;
    char url[LISTENER_URL_SIZE], path[300];
    struct error error = {""};
    int r = site_files_open(here, &files, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    snprintf(path, sizeof(path), "%s/log", here);
    r = access_log_open(path, &log, &error);
    if (r < 0)
        return r;
    int listener = listener_open("127.0.0.1:0", url, &error);
    if (listener < 0)
        return listener;
    const struct static_site site = {.files = &files, .log = &log};
    const struct router router = {.site = &site};
    r = http_server_start(listener, &router, NULL, 5, &server, &error); // takes the listener
    if (r < 0)
        return r;
    return ask_for_all((unsigned)strtoul(strrchr(url, ':') + 1, NULL, 10));
}

const struct torture_scenario torture_server[] = {
    {.name = "serve a site", .prepare = prepare, .act = serve},
    {.name = NULL},
};
