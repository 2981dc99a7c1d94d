/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of enums, beside one another so that none is forgotten. */
#include <sluice/types.h>

static const char *const state_names[] = {
    [SLUICE_CLOSED] = "CLOSED",
    [SLUICE_IDLE] = "IDLE",
    [SLUICE_BOUND] = "BOUND",
    [SLUICE_LISTEN] = "LISTEN",
    [SLUICE_SYN_SENT] = "SYN_SENT",
    [SLUICE_SYN_RCVD] = "SYN_RCVD",
    [SLUICE_ESTABLISHED] = "ESTABLISHED",
    [SLUICE_CLOSE_WAIT] = "CLOSE_WAIT",
    [SLUICE_FIN_WAIT_1] = "FIN_WAIT_1",
    [SLUICE_CLOSING] = "CLOSING",
    [SLUICE_LAST_ACK] = "LAST_ACK",
    [SLUICE_FIN_WAIT_2] = "FIN_WAIT_2",
    [SLUICE_TIME_WAIT] = "TIME_WAIT",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == SLUICE_NSTATES, "a name per state");

const char *sluice_state_name(enum sluice_state s)
{
	return (unsigned int)s < SLUICE_NSTATES ? state_names[s] : "?";
}
