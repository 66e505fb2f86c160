/* A wall clock that is wrong by as many seconds as the file named in POSAGENT_LAB_SKEW says, as after a dead CMOS
 * battery; sleeps and the monotonic clock stay true. A second number in the file is how many seconds the PC was
 * suspended: the wall clock and CLOCK_BOOTTIME went on meanwhile, the monotonic clock did not.
 * Build: gcc -shared -fPIC -O2 -o skewclock.so skewclock.c -ldl
 * Use: LD_PRELOAD=skewclock.so. The file is read at every call, so that the clock may jump while a program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct skew { long wall, slept; };

static struct skew skew_seconds(void) {
    struct skew none = {0, 0};
    const char *path = getenv("POSAGENT_LAB_SKEW");
    char text[64], *rest;
    if (path == NULL) return none;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return none;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    if (size <= 0) return none;
    text[size] = '\0';
    none.wall = strtol(text, &rest, 10);
    none.slept = strtol(rest, NULL, 10);
    return none;
}

static int is_wall_clock(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, now);
    if (answer == 0 && (is_wall_clock(clock) || clock == CLOCK_BOOTTIME)) {
        struct skew skew = skew_seconds();
        now->tv_sec += skew.slept + (clock == CLOCK_BOOTTIME ? 0 : skew.wall);
    }
    return answer;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where != NULL) *where = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
