package build

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// commitTime gives the time of the commit that is checked out in a folder, or in one above it. The repository
// is hostile: nothing of what its config says is run, and nothing is fetched.
func commitTime(ctx context.Context, dir string) (time.Time, bool) {
	if !inRepository(dir) {
		return time.Time{}, false
	}
	cmd := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "-C", dir, "cat-file", "commit", "HEAD")
	cmd.Env = append(gitEnv(), "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	if err != nil {
		return time.Time{}, false // none yet, or no git: its files tell
	}
	for line := range bytes.Lines(out) {
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		rest, ok := strings.CutPrefix(string(line), "committer ")
		if !ok {
			continue
		}
		words := strings.Fields(rest[strings.LastIndexByte(rest, '>')+1:])
		if len(words) == 0 {
			break
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		return time.Unix(n, 0).UTC(), err == nil
	}
	return time.Time{}, false
}

// inRepository tells whether git has to be asked.
func inRepository(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}

// gitEnv is all of the environment that git gets: no config but the repository's, no question, no
// other protocols than those that are needed.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ALLOW_PROTOCOL=", "GIT_ASKPASS=/bin/false",
	}
}
