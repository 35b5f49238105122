/* Fault injection by LD_PRELOAD: at the Nth call that changes something below a root, the process is killed or
   stands still, or the call fails. A forked child arms it, so that imports are neither counted nor disturbed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { READ = 1, CREATE = 2, WRITE = 4, NAME = 8, SYNC = 16, META = 32 };
enum action { OBSERVE, KILL, TEAR, FAIL, FILL, PAUSE };

static char root[4096];
static int action = -1, fault, journal = -1, kinds, with_data;
static long point, count;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

void faults_arm(const char *below, int what, int which, long at, int error, const char *log, int data) {
    snprintf(root, sizeof root, "%s/", below);
    journal = log ? syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    kinds = which, point = at, fault = error, with_data = data, count = 0, action = what;
}

static void place_of(int fd, char *place) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlink, link, place, 4095);
    place[n < 0 ? 0 : n] = 0;
}

static void absolute(int folder, const char *path, char *place) {
    if (path[0] == '/') { snprintf(place, 4096, "%s", path); return; }
    if (folder == AT_FDCWD) { if (syscall(SYS_getcwd, place, 4096) < 0) place[0] = 0; }
    else place_of(folder, place);
    size_t n = strlen(place);
    snprintf(place + n, 4096 - n, "/%s", path);
}

static void note(const char *call, const char *place, const char *other, long offset, const char *data,
                 long size) {
    if (journal < 0) return;
    char head[9000];
    int n = snprintf(head, sizeof head, "%s\t%s\t%s\t%ld\t%ld\n", call, place, other, offset, size);
    struct iovec parts[] = {{head, n}, {(void *)data, data ? size : 0}, {"\n", data ? 1 : 0}};
    syscall(SYS_writev, journal, parts, 3);
}

static void die(const char *call, const char *place) {
    note("killed", place, call, 0, NULL, 0);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Stand still, so that who looks sees what a killed process would leave here. */
static void rest(const char *call, const char *place) {
    note(call, place, "", 0, NULL, 0);
    syscall(SYS_kill, getpid(), SIGSTOP);
}

/* 0: let it happen; 1: it fails, errno is set; 2: half of it, then the end; 3: half of it; 4: half, rest, half. */
static int meet(int kind, const char *call, const char *place) {
    if (action < 0 || strncmp(place, root, strlen(root) - 1) || !(kind & kinds)) return 0;
    char next = place[strlen(root) - 1];
    if (next != '/' && next != 0) return 0;
    long here = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (action == OBSERVE) { if (!with_data) note(call, place, "", 0, NULL, 0); return 0; }
    if (action == PAUSE) { if (kind == WRITE) return 4; rest(call, place); return 0; }
    if (action == FILL ? here < point : here != point) return 0;
    if (action == KILL) die(call, place);
    if (action == TEAR) { if (kind == WRITE) return 2; die(call, place); }
    if (action == FILL && kind == WRITE && here == point) { note("cut", place, call, 0, NULL, 0); return 3; }
    note("failed", place, call, 0, NULL, 0);
    errno = fault;
    return 1;
}

static int traced(const char *place) {
    return action == OBSERVE && with_data && !strncmp(place, root, strlen(root) - 1);
}

static void note_write(int fd, const char *place, off_t end, long n, int at_end) {
    char link[64];
    char *data = malloc(n);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    if (at_end) end = syscall(SYS_lseek, again, 0, SEEK_END);
    if (syscall(SYS_pread64, again, data, n, end - n) == n) note("write", place, "", end - n, data, n);
    syscall(SYS_close, again);
    free(data);
}

#define WRITING(call, size, whole, half, other, end)                                                         \
    char place[4096];                                                                                 \
    place_of(fd, place);                                                                              \
    int met = meet(WRITE, call, place);                                                               \
    if (met == 1) return -1;                                                                          \
    if (met) {                                                                                        \
        ssize_t cut = (size) / 2 ? (half) : 0;                                                        \
        if (met == 2) die(call, place);                                                               \
        if (met == 4) { rest(call, place); ssize_t more = (other); return more < 0 ? more : cut + more; } \
        if (!cut) errno = fault;                                                                      \
        return cut ? cut : -1;                                                                        \
    }                                                                                                 \
    ssize_t done = (whole);                                                                           \
    if (done > 0 && traced(place)) {                                                                  \
        off_t after = (end);                                                                          \
        note_write(fd, place, after, done, fcntl(fd, F_GETFL) & O_APPEND);                            \
    }                                                                                                 \
    return done;

ssize_t write(int fd, const void *data, size_t size) {
    if (action < 0) return REAL(write)(fd, data, size);
    WRITING("write", size, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2),
            REAL(write)(fd, (const char *)data + cut, size - cut), lseek(fd, 0, SEEK_CUR))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    WRITING("pwrite", size, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at),
            REAL(pwrite)(fd, (const char *)data + cut, size - cut, at + cut), at + done)
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    WRITING("pwrite", size, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, size / 2, at),
            REAL(pwrite64)(fd, (const char *)data + cut, size - cut, at + cut), at + done)
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    WRITING("writev", 0, REAL(writev)(fd, parts, n), 0, REAL(writev)(fd, parts, n), lseek(fd, 0, SEEK_CUR))
}
ssize_t sendfile64(int fd, int in, off64_t *at, size_t size) {
    WRITING("sendfile", size, REAL(sendfile64)(fd, in, at, size), REAL(sendfile64)(fd, in, at, 64),
            REAL(sendfile64)(fd, in, at, size - cut),
            lseek(fd, 0, SEEK_CUR))
}
ssize_t sendfile(int fd, int in, off_t *at, size_t size) {
    WRITING("sendfile", size, REAL(sendfile)(fd, in, at, size), REAL(sendfile)(fd, in, at, 64),
            REAL(sendfile)(fd, in, at, size - cut),
            lseek(fd, 0, SEEK_CUR))
}
ssize_t copy_file_range(int in, off64_t *at, int fd, off64_t *to, size_t size, unsigned flags) {
    WRITING("copy_file_range", size, REAL(copy_file_range)(in, at, fd, to, size, flags),
            REAL(copy_file_range)(in, at, fd, to, size / 2, flags),
            REAL(copy_file_range)(in, at, fd, to, size - cut, flags), to ? *to : lseek(fd, 0, SEEK_CUR))
}

static int opening(int folder, const char *path, int flags, char *place) {
    absolute(folder, path, place);
    int changes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    return meet(changes ? CREATE : READ, changes ? "open to write" : "open to read", place);
}
static int opened(int fd, int flags, const char *place) {
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)) && traced(place))
        note(flags & O_TRUNC ? "cleared" : "created", place, "", 0, NULL, 0);
    return fd;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); \
    mode = va_arg(more, mode_t); va_end(more); }
#define OPENING(folder, call) MODE char place[4096]; if (action < 0) return call;                     \
    return opening(folder, path, flags, place) ? -1 : opened(call, flags, place);

int open(const char *path, int flags, ...) { OPENING(AT_FDCWD, REAL(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPENING(AT_FDCWD, REAL(open64)(path, flags, mode)) }
int openat(int folder, const char *path, int flags, ...) {
    OPENING(folder, REAL(openat)(folder, path, flags, mode))
}
int openat64(int folder, const char *path, int flags, ...) {
    OPENING(folder, REAL(openat64)(folder, path, flags, mode))
}

#define NAMING(call, from, path, to, other, what)                                                     \
    char place[4096], target[4096] = "";                                                              \
    if (action < 0) return what;                                                                      \
    absolute(from, path, place);                                                                      \
    if ((other)[0]) absolute(to, other, target);                                                      \
    if (meet(NAME, call, target[0] ? target : place)) return -1;                                      \
    int done = what;                                                                                  \
    if (!done && traced(target[0] ? target : place)) note(call, place, target, 0, NULL, 0);           \
    return done;

int rename(const char *a, const char *b) { NAMING("rename", AT_FDCWD, a, AT_FDCWD, b, REAL(rename)(a, b)) }
int renameat(int f, const char *a, int g, const char *b) {
    NAMING("rename", f, a, g, b, REAL(renameat)(f, a, g, b))
}
int renameat2(int f, const char *a, int g, const char *b, unsigned flags) {
    NAMING("rename", f, a, g, b, REAL(renameat2)(f, a, g, b, flags))
}
int link(const char *a, const char *b) { NAMING("link", AT_FDCWD, a, AT_FDCWD, b, REAL(link)(a, b)) }
int linkat(int f, const char *a, int g, const char *b, int flags) {
    NAMING("link", f, a, g, b, REAL(linkat)(f, a, g, b, flags))
}
int unlink(const char *a) { NAMING("unlink", AT_FDCWD, a, AT_FDCWD, "", REAL(unlink)(a)) }
int unlinkat(int f, const char *a, int flags) {
    NAMING(flags & AT_REMOVEDIR ? "rmdir" : "unlink", f, a, f, "", REAL(unlinkat)(f, a, flags))
}
int rmdir(const char *a) { NAMING("rmdir", AT_FDCWD, a, AT_FDCWD, "", REAL(rmdir)(a)) }
int mkdir(const char *a, mode_t mode) { NAMING("mkdir", AT_FDCWD, a, AT_FDCWD, "", REAL(mkdir)(a, mode)) }
int mkdirat(int f, const char *a, mode_t mode) { NAMING("mkdir", f, a, f, "", REAL(mkdirat)(f, a, mode)) }

static int pointing(const char *target, int folder, const char *path) {
    char place[4096];
    if (action < 0) return REAL(symlinkat)(target, folder, path);
    absolute(folder, path, place);
    if (meet(NAME, "symlink", place)) return -1;
    int done = REAL(symlinkat)(target, folder, path);
    if (!done && traced(place)) note("symlink", place, target, 0, NULL, 0);
    return done;
}
int symlink(const char *target, const char *path) { return pointing(target, AT_FDCWD, path); }
int symlinkat(const char *target, int folder, const char *path) { return pointing(target, folder, path); }

#define ON_FILE(kind, call, told, what)                                                               \
    char place[4096];                                                                                 \
    if (action < 0) return what;                                                                      \
    place_of(fd, place);                                                                              \
    if (meet(kind, call, place)) return -1;                                                           \
    int done = what;                                                                                  \
    if (!done && traced(place)) note(told, place, "", 0, NULL, 0);                                    \
    return done;

int fsync(int fd) { ON_FILE(SYNC, "fsync", "fsync", REAL(fsync)(fd)) }
int fdatasync(int fd) { ON_FILE(SYNC, "fdatasync", "fsync", REAL(fdatasync)(fd)) }
int ftruncate(int fd, off_t n) { ON_FILE(META, "ftruncate", "cleared", REAL(ftruncate)(fd, n)) }
int ftruncate64(int fd, off64_t n) { ON_FILE(META, "ftruncate", "cleared", REAL(ftruncate64)(fd, n)) }
int fchmod(int fd, mode_t mode) { ON_FILE(META, "fchmod", "mode", REAL(fchmod)(fd, mode)) }

#define ON_PATH(folder, call, what)                                                                   \
    char place[4096];                                                                                 \
    if (action < 0 || !path) return what;                                                             \
    absolute(folder, path, place);                                                                    \
    return meet(META, call, place) ? -1 : what;

int truncate(const char *path, off_t n) { ON_PATH(AT_FDCWD, "truncate", REAL(truncate)(path, n)) }
int truncate64(const char *path, off64_t n) { ON_PATH(AT_FDCWD, "truncate", REAL(truncate64)(path, n)) }
int chmod(const char *path, mode_t mode) { ON_PATH(AT_FDCWD, "chmod", REAL(chmod)(path, mode)) }
int fchmodat(int f, const char *path, mode_t mode, int flags) {
    ON_PATH(f, "chmod", REAL(fchmodat)(f, path, mode, flags))
}
int utimensat(int f, const char *path, const struct timespec times[2], int flags) {
    ON_PATH(f, "utimensat", REAL(utimensat)(f, path, times, flags))
}
