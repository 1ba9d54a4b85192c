/* Lets keepalived start where the kernel has no IPVS, and keeps it from running any script.
 * Preloaded into keepalived by the tests; its netlink calls to IPVS succeed and change nothing. */
#include <stdio.h>
#include <unistd.h>

typedef int (*callback)(void *, void *);
static callback functions[16];
static void *arguments[16];

__attribute__((constructor)) static void line_by_line(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

int genl_ctrl_resolve(void *socket, const char *name) { return 42; }
int genl_connect(void *socket) { return 0; }
int nl_send_auto(void *socket, void *message) { return 16; }

int nl_socket_modify_cb(void *socket, int type, int kind, callback function, void *argument)
{
	if (type >= 0 && type < 16) {
		functions[type] = function;
		arguments[type] = argument;
	}
	return 0;
}

/* NL_CB_ACK is 4: keepalived waits for it. */
int nl_recvmsgs_default(void *socket)
{
	if (functions[4])
		functions[4](NULL, arguments[4]);
	return 0;
}

int execve(const char *path, char *const argv[], char *const envp[]) { _exit(127); }
int execv(const char *path, char *const argv[]) { _exit(127); }
int system(const char *command) { return -1; }
