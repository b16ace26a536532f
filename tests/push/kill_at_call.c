/* Runs a command and kills it at the N-th system call that changes a file, counted over all of its processes:
 *
 *     kill_at_call N all|one COUNT-FILE COMMAND...
 *
 * `all`: every process dies at that moment, as in a power cut (PTRACE_O_EXITKILL); `one`: only the caller does. The
 * call itself is not carried out. COUNT-FILE gets the number of calls that were seen; N = 0 only counts.
 * strace(1) counts per process, so that with it no single moment of a shell script can be named. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_file(pid_t pid, unsigned long fd) {
  char link[64], target[256];
  snprintf(link, sizeof link, "/proc/%d/fd/%lu", pid, fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length <= 0) return 0;
  target[length] = 0;
  return target[0] == '/' && strncmp(target, "/dev/", 5) != 0;
}

static int changes(pid_t pid, const struct __ptrace_syscall_info *info) {
  const __uint64_t *arguments = info->entry.args;
  switch (info->entry.nr) {
#ifdef SYS_open
    case SYS_open: return (arguments[1] & (O_CREAT | O_TRUNC)) != 0;
    case SYS_creat: case SYS_rename: case SYS_unlink: case SYS_rmdir: case SYS_link: case SYS_symlink:
    case SYS_mkdir: case SYS_chmod: case SYS_chown: case SYS_lchown: return 1;
#endif
    case SYS_openat: return (arguments[2] & (O_CREAT | O_TRUNC)) != 0;
#ifdef SYS_renameat
    case SYS_renameat:
#endif
    case SYS_renameat2: case SYS_unlinkat: case SYS_linkat: case SYS_symlinkat: case SYS_mkdirat: case SYS_fchmodat:
    case SYS_fchownat: case SYS_fchmod: case SYS_fchown: case SYS_truncate: case SYS_ftruncate: case SYS_fsync:
    case SYS_fdatasync: case SYS_sync: case SYS_syncfs: case SYS_utimensat: case SYS_setxattr: case SYS_lsetxattr:
    case SYS_fsetxattr: case SYS_fallocate: return 1;
    case SYS_write: case SYS_pwrite64: case SYS_writev: return is_file(pid, arguments[0]);
    case SYS_copy_file_range: return 1;
    case SYS_sendfile: return is_file(pid, arguments[0]);
    default: return 0;
  }
}

static void tell(const char *path, long count) {
  FILE *file = fopen(path, "w");
  if (file) { fprintf(file, "%ld\n", count); fclose(file); }
}

int main(int count, char **words) {
  if (count < 5) return 64;
  long wanted = atol(words[1]), seen = 0;
  int all = strcmp(words[2], "all") == 0, status, result = 70;
  pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execvp(words[4], words + 4);
    _exit(127);
  }
  waitpid(child, &status, 0);
  ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK
         | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  ptrace(PTRACE_SYSCALL, child, 0, 0);
  for (;;) {
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0) break;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (pid != child) continue;
      result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      break; /* what still runs in the background ends with us */
    }
    int stopped = WSTOPSIG(status), pass = 0;
    if (stopped == (SIGTRAP | 0x80)) {
      struct __ptrace_syscall_info info;
      memset(&info, 0, sizeof info);
      if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY
          && changes(pid, &info) && ++seen == wanted) {
        tell(words[3], seen);
        if (all) _exit(137);
        kill(pid, SIGKILL);
        continue;
      }
    } else if (stopped != SIGTRAP && stopped != SIGSTOP) {
      pass = stopped;
    }
    ptrace(PTRACE_SYSCALL, pid, 0, pass);
  }
  tell(words[3], seen);
  return result;
}
