/* Lets every program believe that this machine has PROCESSORS processors, whatever it has.
 *
 * Preloaded by many_processors.py, in a mount namespace of its own. Which processors a process may
 * use is answered from a table, which all processes share: the service places its workers on some,
 * and their libraries ask. Threads that were placed by nobody may use what their process may. What
 * a process asks for itself changes nothing, as within the walls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PLACES 65536

struct place {
    int32_t id;
    uint64_t processors;
};

static struct place *table;

static uint64_t all(void)
{
    return PROCESSORS == 64 ? ~UINT64_C(0) : (UINT64_C(1) << PROCESSORS) - 1;
}

__attribute__((constructor)) static void open_table(void)
{
    int file = open(TABLE, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *found = mmap(0, PLACES * sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    table = found == MAP_FAILED ? 0 : found;
    close(file);
}

static uint64_t of(pid_t id)
{
    if (table && table[id % PLACES].id == id)
        return table[id % PLACES].processors;
    return id == getpid() ? all() : of(getpid());
}

static int fill(uint64_t processors, size_t size, cpu_set_t *set)
{
    if (size < sizeof processors)
        return EINVAL;
    memset(set, 0, size);
    memcpy(set, &processors, sizeof processors);
    return 0;
}

int sched_getaffinity(pid_t id, size_t size, cpu_set_t *set)
{
    errno = fill(of(id ? id : gettid()), size, set);
    return errno ? -1 : 0;
}

int sched_setaffinity(pid_t id, size_t size, const cpu_set_t *set)
{
    uint64_t processors = 0;
    memcpy(&processors, set, size < sizeof processors ? size : sizeof processors);
    if (!(processors & all())) {
        errno = EINVAL;
        return -1;
    }
    if (table && id && id != getpid() && id != gettid()) {
        table[id % PLACES].processors = processors & all();
        table[id % PLACES].id = id;
    }
    return 0;
}

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set)
{
    (void)thread;
    return fill(of(gettid()), size, set);
}

int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *set)
{
    (void)thread;
    (void)size;
    (void)set;
    return 0;
}
