/* SPDX-License-Identifier: MIT */
/*
 * cpu_latency.h - processors that wake up quickly while requests come one after the other.
 *
 * A program that reads or copies small files waits for an answer some ten thousand times a second.
 * Each time one processor goes idle and is woken a few microseconds later. Where idling means to
 * leave a virtual machine, that takes longer than everything else in the request. So while requests
 * come in such a rhythm, /dev/cpu_dma_latency is held open, the kernel's interface for it
 * (Documentation/power/pm_qos_interface.rst); it is closed again when the rhythm ends. The kernel
 * closes it, too, when the daemon dies.
 *
 * Only root may open that file. For everybody else, and where there is nothing to gain, nothing
 * happens.
 */
#ifndef ARSYNCFS_CPU_LATENCY_H
#define ARSYNCFS_CPU_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "arsync/log.h"

struct cpu_latency;

/**
 * Starts the thread that opens and closes. *@ret is NULL where there is nothing to gain or the file
 * cannot be opened; the log says why. -ENOMEM, -EAGAIN.
 */
int cpu_latency_new(const struct log *log, struct cpu_latency **ret);

/** Closes, and ends the thread. Accepts NULL. */
void cpu_latency_free(struct cpu_latency *latency);

/** A request has come. Any thread; takes no lock but once in a burst. Accepts NULL. */
void cpu_latency_note(struct cpu_latency *latency);

/** Whether it is held open now. Any thread. Accepts NULL. */
bool cpu_latency_is_held(const struct cpu_latency *latency);

#endif /* ARSYNCFS_CPU_LATENCY_H */
