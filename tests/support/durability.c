/* Preloaded into a task: a line on $SYNC_TRACE for every write, flush, rename and hard link below $SYNC_ROOT that
   succeeded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void note(const char *what, const char *first, const char *second) {
    char line[2 * PATH_MAX + 32];
    const char *file = getenv("SYNC_TRACE"), *root = getenv("SYNC_ROOT");
    if (!root || strncmp(first, root, strlen(root)) != 0) return;
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", what, first, second);
    int trace = file ? open(file, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (trace < 0 || syscall(SYS_write, trace, line, length) != length) abort();
    close(trace);
}

static void note_file(const char *what, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    note(what, path, "");
}

static int synced(const char *name, const char *what, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int result = real(fd);
    if (result == 0) note_file(what, fd);
    return result;
}

int fsync(int fd) { return synced("fsync", "sync", fd); }
int fdatasync(int fd) { return synced("fdatasync", "sync", fd); }
int syncfs(int fd) { return synced("syncfs", "sync all", fd); }

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    ssize_t result = real(fd, bytes, size);
    if (result > 0) note_file("write", fd);
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t place) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t result = real(fd, bytes, size, place);
    if (result > 0) note_file("write", fd);
    return result;
}

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
