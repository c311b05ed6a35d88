#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int unit_NUMBER(int n, char *text, size_t size)
{
	int sum = 0;
	for (int i = 0; i < n; i++)
		sum += i * NUMBER;
	snprintf(text, size, "%d %s", sum, strerror(errno));
	return sum;
}
