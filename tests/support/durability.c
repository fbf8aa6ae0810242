/* Preloaded into a task: a line on $SYNC_TRACE for every fsync, rename and hard link that succeeded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(const char *what, const char *first, const char *second) {
    char line[2 * PATH_MAX + 32];
    const char *file = getenv("SYNC_TRACE");
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", what, first, second);
    int trace = file ? open(file, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (trace < 0 || write(trace, line, length) != length) abort();
    close(trace);
}

static int synced(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    int result = real(fd);
    if (result == 0) note("sync", path, "");
    return result;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static int named(const char *name, const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, name);
    int result = real(from, to);
    if (result == 0) note(name, from, to);
    return result;
}

int rename(const char *from, const char *to) { return named("rename", from, to); }

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    int (*real)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    int result = real(from_fd, from, to_fd, to, flags);
    if (result == 0) note("link", from, to);
    return result;
}
