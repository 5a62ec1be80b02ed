/* What the machine, or the container around the process, has. */
#ifndef GHN_BASE_MACHINE_H
#define GHN_BASE_MACHINE_H

#include <stdint.h>

/* Bytes of memory that the process may at most come to use before the kernel kills something: the
 * machine's, or the least limit of a control group that the process is in (v2's memory.max, v1's
 * memory.limit_in_bytes) where that is less. Swap does not count. INT64_MAX if nobody can tell.
 * Asked of the system once. */
int64_t ghn_machine_memory(void);

/* The least limit of the control groups that root/proc/self/cgroup names, INT64_MAX if there is
 * none: what the function above asks with root "", and a test with a folder of its own. */
int64_t ghn__cgroup_memory(const char *root);

#endif
