/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sendfile: from a file of the kernel to a socket. The bytes are read into a buffer that stays in the
 * nearest caches, and copied from there into mbufs.
 */
#include <posix/so.h>

#include <errno.h>
#include <unistd.h>

#define PIECE 16384

ssize_t sluice_so_sendfile(
    struct sluice_stack *st, int out, int in_kernel_fd, off_t *offset, size_t count)
{
	off_t at = offset != NULL ? *offset : lseek(in_kernel_fd, 0, SEEK_CUR);
	char buf[PIECE];
	size_t done = 0;
	ssize_t rc = 0;

	if (at < 0)
		return offset != NULL ? -EINVAL : errno == EBADF ? -EBADF : -EINVAL;
	while (done < count) {
		size_t want = RTE_MIN(count - done, (size_t)PIECE);
		ssize_t n = pread(in_kernel_fd, buf, want, at + (off_t)done);

		if (n <= 0) {
			rc = n < 0 ? -errno : 0;
			break;
		}
		/* What follows comes at once. */
		rc = sluice_so_send(st, out, buf, (size_t)n,
		    done + (size_t)n < count && (size_t)n == want ? MSG_MORE : 0);
		if (rc <= 0)
			break;
		done += (size_t)rc;
		if (rc < n)
			break; /* a full buffer, a signal, an error */
	}
	if (done == 0)
		return rc;
	if (offset != NULL)
		*offset = at + (off_t)done;
	else
		(void)lseek(in_kernel_fd, at + (off_t)done, SEEK_SET);
	return (ssize_t)done;
}
