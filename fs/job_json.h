/* SPDX-License-Identifier: MIT */
/*
 * job_json.h - jobs as JSON: the values of user.arsync.jobs, job.ID and wait.ID.
 */
#ifndef ARSYNCFS_JOB_JSON_H
#define ARSYNCFS_JOB_JSON_H

#include "jobs.h"

/** One job with its first failures. The text is to be freed by the caller. -ENOMEM. */
int job_json(struct jobs *jobs, struct jobs_entry *entry, char **ret);

/** An array of the first of these, as many as make at most @max bytes, with few failures. -ENOMEM. */
int job_json_list(struct jobs *jobs, struct jobs_entry *const *list, size_t n, size_t max,
		  char **ret);

#endif /* ARSYNCFS_JOB_JSON_H */
