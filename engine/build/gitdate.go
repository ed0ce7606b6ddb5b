package build

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/util/gitutil"
)

// commitTimes remembers when commits were made: git is asked once for each that is checked out.
type commitTimes struct {
	mu    sync.Mutex
	known map[string]time.Time // by the repository's folder and the commit's id
}

// maxCommits is how many are remembered.
const maxCommits = 1000

// of gives the time of the commit that is checked out in a folder, or in one above it. The repository
// is hostile: nothing of what its config says is run, and nothing is fetched.
func (c *commitTimes) of(ctx context.Context, dir string) (time.Time, bool) {
	repo := repositoryOf(dir)
	if repo == "" {
		return time.Time{}, false
	}
	id := headCommit(repo)
	key := repo + " " + id
	c.mu.Lock()
	at, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return at, true
	}
	cmd := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "-C", dir, "cat-file", "commit", cmp.Or(id, "HEAD"))
	cmd.Env = append(gitEnv(), "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	if err != nil {
		return time.Time{}, false // none yet, or no git: its files tell
	}
	at, ok = committed(out)
	if ok && id != "" {
		c.mu.Lock()
		if c.known == nil || len(c.known) >= maxCommits {
			c.known = map[string]time.Time{}
		}
		c.known[key] = at
		c.mu.Unlock()
	}
	return at, ok
}

// committed reads the time of a commit.
func committed(commit []byte) (time.Time, bool) {
	for line := range bytes.Lines(commit) {
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

// repositoryOf gives what .git is of the repository that a folder lies in, "" for none.
func repositoryOf(dir string) string {
	for {
		at := filepath.Join(dir, ".git")
		if _, err := os.Lstat(at); err == nil {
			return at
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// headCommit reads which commit is checked out, "" where only git knows: in a worktree, with refs in a table.
func headCommit(repo string) string {
	head := line(filepath.Join(repo, "HEAD"))
	name, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return commitID(head)
	}
	if !filepath.IsLocal(name) {
		return ""
	}
	return commitID(line(filepath.Join(repo, name)))
}

// commitID gives back what is the id of a commit.
func commitID(s string) string {
	if !gitutil.IsCommitSHA(s) {
		return ""
	}
	return s
}

// line reads a file of one short line, "" for any other.
func line(path string) string {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || st.Size() > 1<<10 {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// gitEnv is all of the environment that git gets: no config but the repository's, no question, no
// other protocols than those that are needed.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ALLOW_PROTOCOL=", "GIT_ASKPASS=/bin/false",
	}
}
