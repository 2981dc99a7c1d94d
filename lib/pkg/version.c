/* SPDX-License-Identifier: BSD-3-Clause */
#include <sluice/types.h>

const char *sluice_version(void)
{
	return SLUICE_VERSION;
}
