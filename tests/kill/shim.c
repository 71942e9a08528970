/* SPDX-License-Identifier: MIT
 * shim.c: a library to preload (Linux). Under it the calls that touch files go slowly, do less than
 * was asked, fail, or end the program, as the environment says:
 *
 *   KD_SHIM       words, separated by spaces
 *     slow=US       opening, syncing and renaming wait so many microseconds, before and after; a
 *                   write waits half-way
 *     short=BYTES   a read or a write moves at most so many
 *     eintr=1       each first try of a call that may be is interrupted
 *     nosync=1      nothing is really synced: a process that is killed does not need it
 *     room=BYTES    is left on the disk: then writing gives ENOSPC
 *     CALL=N:WHAT   the N-th such call, counted from 1, gives WHAT; N+: it and all after it
 *   CALL            read, open (for writing), write, truncate, chmod, sync, rename, unlink; change:
 *                   all of these but read, counted together
 *   WHAT            an error (EIO, ENOSPC, EACCES, EROFS), END (read: the file ends here), or a
 *                   signal before the call is done (INT, TERM, HUP, KILL; half a write is done)
 *   KD_SHIM_PATH  only files and folders whose path contains this
 *   KD_SHIM_MARK  a file to make as soon as CALL has come
 *   KD_SHIM_LOG   a file for a line "CALL PATH" about each call that changes something
 *
 * Real calls are made by number, so that it does not matter whose functions are replaced. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

typedef enum call { READ, OPEN, WRITE, TRUNCATE, CHMOD, SYNC, RENAME, UNLINK, CALLS } call;

static const char *const call_names[] = {"read", "open",   "write",  "truncate", "chmod",
                                         "sync", "rename", "unlink", "change"};

static const struct what {
    const char *name;
    int error, signal;
} whats[] = {
    {"EIO", EIO, 0},      {"ENOSPC", ENOSPC, 0}, {"EACCES", EACCES, 0},
    {"EROFS", EROFS, 0},  {"END", 0, 0},         {"INT", 0, SIGINT},
    {"TERM", 0, SIGTERM}, {"HUP", 0, SIGHUP},    {"KILL", 0, SIGKILL},
};
enum { WHATS = sizeof whats / sizeof *whats };

static struct {
    long slow, shorter, eintr, nosync;
    const char *path, *mark, *log;
    int call; /* a call, CALLS for any change, -1 for none */
    long at;
    bool later; /* those after it, too */
    const struct what *what;
} plan;
static _Atomic long calls, room, tries;

/* ---- the environment ------------------------------------------------------------------------- */

static void read_word(const char *word)
{
    char name[16];
    const size_t n = strcspn(word, "=");
    if (n >= sizeof name || word[n] != '=') return;
    memcpy(name, word, n);
    name[n] = 0;
    char *rest;
    const long number = strtol(word + n + 1, &rest, 10);
    if (!strcmp(name, "slow")) plan.slow = number;
    if (!strcmp(name, "short")) plan.shorter = number;
    if (!strcmp(name, "eintr")) plan.eintr = number;
    if (!strcmp(name, "nosync")) plan.nosync = number;
    if (!strcmp(name, "room")) room = number;
    for (int c = 0; c <= CALLS; c++) {
        if (strcmp(name, call_names[c])) continue;
        plan.call = c;
        plan.at = number;
        plan.later = *rest == '+';
        const char *what = rest + plan.later + 1;
        for (size_t w = 0; w < WHATS; w++)
            if (!strncmp(what, whats[w].name, strlen(whats[w].name))) plan.what = &whats[w];
    }
}

__attribute__((constructor)) static void begin(void)
{
    plan.call = -1;
    room = -1;
    plan.path = getenv("KD_SHIM_PATH");
    plan.mark = getenv("KD_SHIM_MARK");
    plan.log = getenv("KD_SHIM_LOG");
    if (plan.log && !*plan.log) plan.log = NULL;
    for (const char *word = getenv("KD_SHIM"); word && *word;) {
        read_word(word);
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
}

/* ---- what befalls a call --------------------------------------------------------------------- */

static void wait_slowly(void)
{
    if (plan.slow <= 0) return;
    const struct timespec t = {plan.slow / 1000000, plan.slow % 1000000 * 1000};
    const int error = errno;
    nanosleep(&t, NULL);
    errno = error;
}

typedef struct name {
    char text[4096];
} name;

/* Files and folders have paths that begin with a slash; outputs are not ours. */
static bool ours(int fd, name *path)
{
    static const char folder[] = "/proc/self/fd/";
    char link[40], digits[12];
    size_t n = 0, used = sizeof folder - 1;
    if (fd <= STDERR_FILENO) return false;
    for (int x = fd; x || !n; x /= 10) digits[n++] = (char)('0' + x % 10);
    memcpy(link, folder, used);
    while (n) link[used++] = digits[--n];
    link[used] = 0;
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path->text, sizeof path->text - 1);
    if (length <= 0 || path->text[0] != '/') return false;
    path->text[length] = 0;
    return strncmp(path->text, "/proc/", 6) && strncmp(path->text, "/dev/", 5) &&
           (!plan.path || strstr(path->text, plan.path));
}

static bool named(const char *path)
{
    return !plan.path || strstr(path, plan.path);
}

static void add_to(const char *file, const char *what, const char *path)
{
    if (!file) return;
    const long fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0) return;
    syscall(SYS_write, (int)fd, what, strlen(what));
    syscall(SYS_write, (int)fd, " ", (size_t)1);
    syscall(SYS_write, (int)fd, path, strlen(path));
    syscall(SYS_write, (int)fd, "\n", (size_t)1);
    syscall(SYS_close, (int)fd);
}

/* Has its moment come? */
static bool due(call c, const char *path)
{
    if (c != READ) add_to(plan.log, call_names[c], path);
    if (plan.call < 0 || !plan.what) return false;
    if (plan.call != (int)c && (plan.call != CALLS || c == READ)) return false;
    const long n = ++calls;
    if (n != plan.at && !(plan.later && n > plan.at)) return false;
    add_to(plan.mark, call_names[c], path);
    return true;
}

/* -1 with errno: the call fails; 0: it ends; 1: it goes on. */
static int strike(void)
{
    if (plan.what->signal) {
        kill(getpid(), plan.what->signal);
        return 1;
    }
    errno = plan.what->error;
    return errno ? -1 : 0;
}

static bool interrupted(void)
{
    if (!plan.eintr || ++tries % 2 == 0) return false;
    errno = EINTR;
    return true;
}

/* Before a call that does its work as a whole. */
static bool refused(call c, const char *path)
{
    if (c != RENAME && c != UNLINK && interrupted()) return true;
    wait_slowly();
    return due(c, path) && strike() < 0;
}

static int done(long result)
{
    wait_slowly();
    return (int)result;
}

/* ---- the calls ------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);

static int open_as(const char *path, int flags, unsigned mode)
{
    const bool writes = (flags & O_ACCMODE) != O_RDONLY && named(path);
    if (writes && refused(OPEN, path)) return -1;
    const long fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    return writes ? done(fd) : (int)fd;
}

static unsigned mode_of(int flags, va_list list)
{
    return flags & O_CREAT ? va_arg(list, unsigned) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const unsigned mode = mode_of(flags, list);
    va_end(list);
    return open_as(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const unsigned mode = mode_of(flags, list);
    va_end(list);
    return open_as(path, flags, mode);
}

static size_t at_most(size_t size)
{
    return plan.shorter > 0 && size > (size_t)plan.shorter ? (size_t)plan.shorter : size;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    name path;
    if (!ours(fd, &path)) return syscall(SYS_write, fd, bytes, size);
    if (interrupted()) return -1;
    size = at_most(size);
    if (due(WRITE, path.text)) {
        if (plan.what->signal == SIGKILL) syscall(SYS_write, fd, bytes, size / 2);
        if (strike() < 0) return -1;
    }
    if (room >= 0) {
        if (size && room == 0) {
            add_to(plan.mark, "room", path.text);
            errno = ENOSPC;
            return -1;
        }
        if ((long)size > room) size = (size_t)room;
        room -= (long)size;
    }
    const size_t half = plan.slow > 0 ? size / 2 : 0;
    if (half) {
        const long n = syscall(SYS_write, fd, bytes, half);
        if (n != (long)half) return n;
        wait_slowly();
    }
    const long n = syscall(SYS_write, fd, (const char *)bytes + half, size - half);
    return n < 0 ? n : n + (long)half;
}

/* 0: read as usual; 1: what *result says */
static int before_read(int fd, size_t *size, ssize_t *result)
{
    name path;
    if (!ours(fd, &path)) return 0;
    *result = -1;
    if (interrupted()) return 1;
    *size = at_most(*size);
    if (!due(READ, path.text)) return 0;
    const int struck = strike();
    *result = struck;
    return struck <= 0;
}

ssize_t read(int fd, void *bytes, size_t size)
{
    ssize_t result;
    if (before_read(fd, &size, &result)) return result;
    return syscall(SYS_read, fd, bytes, size);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    ssize_t result;
    if (before_read(fd, &size, &result)) return result;
    return syscall(SYS_pread64, fd, bytes, size, offset);
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t offset)
{
    return pread(fd, bytes, size, offset);
}

int ftruncate(int fd, off_t size)
{
    name path;
    if (!ours(fd, &path)) return (int)syscall(SYS_ftruncate, fd, size);
    return refused(TRUNCATE, path.text) ? -1 : done(syscall(SYS_ftruncate, fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int fchmod(int fd, mode_t mode)
{
    name path;
    if (!ours(fd, &path)) return (int)syscall(SYS_fchmod, fd, mode);
    return refused(CHMOD, path.text) ? -1 : done(syscall(SYS_fchmod, fd, mode));
}

int fsync(int fd)
{
    name path;
    if (!ours(fd, &path)) return (int)syscall(SYS_fsync, fd);
    return refused(SYNC, path.text) ? -1 : done(plan.nosync ? 0 : syscall(SYS_fsync, fd));
}

int rename(const char *from, const char *to)
{
    if (named(to) && refused(RENAME, to)) return -1;
    return done(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path)
{
    if (named(path) && refused(UNLINK, path)) return -1;
    return done(syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
