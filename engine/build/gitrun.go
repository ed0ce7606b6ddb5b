package build

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/util/gitutil"

	"lighter/api"
)

// git is the program git, for one source. The repositories that it talks to are hostile: it has no config of this machine,
// no hooks, no transport that runs programs or reads files here, and no time without end.
type git struct {
	job    *job
	source *gitSource
	dir    string // of its own; emptied at the end
	env    []string
	secret string // never in an error

	agent   net.Listener
	serving sync.WaitGroup
}

// Bounds on what repositories may do.
const (
	maxGitOutput  = 16 << 20 // bytes that one command tells
	maxSubmodules = 1000
	maxModuleDeep = 20
)

// gitConfig is what all commands get as their config.
var gitConfig = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "init.templateDir=", "-c", "init.defaultBranch=master", "-c", "advice.detachedHead=false",
	"-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.fsmonitor=false", "-c", "fetch.fsckObjects=false",
	"-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=120", "-c", "submodule.recurse=false",
}

func newGit(ctx context.Context, j *job, s *gitSource) (g *git, err error) {
	g = &git{job: j, source: s}
	if g.dir, err = j.b.Root.Temp("git"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	ssh := "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=30"
	if s.knownHosts != "" {
		hosts := filepath.Join(g.dir, "known_hosts")
		if err := os.WriteFile(hosts, []byte(s.knownHosts), 0o600); err != nil {
			return g, err
		}
		ssh += " -o UserKnownHostsFile=" + hosts
	} else {
		ssh += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
	}
	g.env = append(gitEnv(), "GIT_ALLOW_PROTOCOL=http:https:ssh:git", "GIT_SSH_COMMAND="+ssh, "GIT_NO_LAZY_FETCH=1")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			g.env = append(g.env, name+"="+value)
		}
	}
	if err := g.authorise(ctx); err != nil {
		return g, err
	}
	if u, err := gitutil.ParseURL(s.remote); err == nil && u.Scheme == gitutil.SSHProtocol && s.agent != "" {
		return g, g.forward(ctx)
	}
	return g, nil
}

// authorise takes the secret that the client has for the server.
func (g *git) authorise(ctx context.Context) error {
	u, err := url.Parse(g.source.remote)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	for _, name := range []struct {
		id    string
		token bool
	}{{g.source.header + "." + u.Host, false}, {g.source.token + "." + u.Host, true}, {g.source.header, false}, {g.source.token, true}} {
		if name.id == "" || name.id[0] == '.' {
			continue
		}
		value, err := g.job.client.Secret(ctx, name.id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("secret %s: %w", name.id, err)
		}
		g.secret = string(value)
		header := g.secret
		if name.token {
			header = "basic " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "x-access-token:%s", value))
		}
		scope := g.source.remote
		for _, host := range []string{"https://github.com/", "https://www.github.com/"} {
			if strings.HasPrefix(scope, host) {
				scope = host
			}
		}
		// Not as an argument, which everybody on the machine can read.
		g.env = append(g.env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http."+scope+".extraheader", "GIT_CONFIG_VALUE_0=Authorization: "+header)
		return nil
	}
	return nil
}

// forward opens a socket for ssh, that leads to the client's agent.
func (g *git) forward(ctx context.Context) error {
	first, err := g.job.client.Agent(ctx, g.source.agent)
	if errors.Is(err, os.ErrNotExist) {
		return api.Errorf(api.Invalid, "no SSH key %q forwarded from the client", g.source.agent)
	}
	if err != nil {
		return fmt.Errorf("ssh agent %s: %w", g.source.agent, err)
	}
	first.Close()
	// The path of a socket is a hundred bytes at most.
	dir, err := os.MkdirTemp("", "lighter-agent")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "agent")
	if g.agent, err = net.Listen("unix", path); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	g.env = append(g.env, "SSH_AUTH_SOCK="+path)
	g.serving.Go(func() {
		defer os.RemoveAll(dir)
		for {
			conn, err := g.agent.Accept()
			if err != nil {
				return
			}
			g.serving.Go(func() { g.pipe(ctx, conn) })
		}
	})
	return nil
}

func (g *git) pipe(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	agent, err := g.job.client.Agent(ctx, g.source.agent)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { agent.Close(); conn.Close() })
	defer stop()
	g.serving.Go(func() {
		io.Copy(agent, conn)
		agent.Close()
	})
	io.Copy(conn, agent)
}

// close takes away what it left.
func (g *git) close() error {
	if g.agent != nil {
		g.agent.Close()
	}
	g.serving.Wait()
	if g.dir == "" {
		return nil
	}
	return g.job.b.Root.Trash(g.dir)
}

// run runs a command in a folder, "" for its own, and gives what it tells.
func (g *git) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append(append([]string{}, gitConfig...), args...)...)
	cmd.WaitDelay = 10 * time.Second
	if g.job.b.Group != nil {
		g.job.b.Group(cmd)
	}
	cmd.Dir, cmd.Env = g.dir, g.env
	if dir != "" {
		cmd.Dir = dir
	}
	var out, complaint limited
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", api.Errorf(api.Unavailable, "the program git is not on the engine's machine: install it")
	case err != nil && ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return out.String(), api.Errorf(api.Invalid, "git stderr:\n%s: %w", g.clean(complaint.String()), err)
	}
	return out.String(), nil
}

var password = regexp.MustCompile(`://[^/@\s]*@`)

// clean takes secrets out of what git says.
func (g *git) clean(text string) string {
	text = password.ReplaceAllString(clip(text), "://xxxxx@")
	if g.secret != "" {
		text = strings.ReplaceAll(text, g.secret, "xxxxx")
	}
	return text
}

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	l.Buffer.Write(b[:max(0, min(len(b), maxGitOutput-l.Len()))])
	return len(b), nil
}

var headOf = regexp.MustCompile(`(?m)^ref: refs/heads/(\S+)\s+HEAD$`)

// defaultBranch asks the repository which branch is checked out where none is named.
func (g *git) defaultBranch(ctx context.Context) (string, error) {
	out, err := g.run(ctx, "", "ls-remote", "--symref", "--", g.source.remote, "HEAD")
	if err != nil {
		return "", fmt.Errorf("error fetching default branch for repository %s: %w", redacted(g.source.remote), err)
	}
	m := headOf.FindStringSubmatch(out)
	if m == nil || strings.HasPrefix(m[1], "-") {
		return "", api.Errorf(api.Invalid, "could not find default branch for repository: %s", redacted(g.source.remote))
	}
	return "refs/heads/" + m[1], nil
}

// checkout fetches a commit and gives its files, and its time.
func (g *git) checkout(ctx context.Context, r *resolved) (*os.File, time.Time, error) {
	dir := filepath.Join(g.dir, "files")
	none := time.Time{}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, none, err
	}
	init := []string{"init", "--quiet"}
	if len(r.commit) == 64 {
		init = append(init, "--object-format=sha256")
	}
	if _, err := g.run(ctx, dir, init...); err != nil {
		return nil, none, err
	}
	if _, err := g.run(ctx, dir, "remote", "add", "origin", g.source.remote); err != nil {
		return nil, none, err
	}
	if err := g.fetch(ctx, dir, r); err != nil {
		return nil, none, fmt.Errorf("failed to fetch remote %s: %w", redacted(g.source.remote), err)
	}
	out, err := g.run(ctx, dir, "rev-parse", "--verify", "--end-of-options", r.commit+"^{commit}")
	commit := strings.TrimSpace(out)
	if err == nil && !strings.HasPrefix(commit, g.source.checksum) && !strings.HasPrefix(r.commit, g.source.checksum) {
		err = api.Errorf(api.Invalid, "expected checksum to match %s, got %s", g.source.checksum, commit)
	}
	if err == nil {
		_, err = g.run(ctx, dir, "checkout", "--quiet", "--force", "--detach", commit)
	}
	if err != nil {
		return nil, none, fmt.Errorf("failed to checkout remote %s: %w", redacted(g.source.remote), err)
	}
	if !g.source.plain {
		if err := g.submodules(ctx, dir); err != nil {
			return nil, none, fmt.Errorf("failed to update submodules for %s: %w", redacted(g.source.remote), err)
		}
	}
	out, err = g.run(ctx, dir, "show", "--no-patch", "--format=%ct", commit, "--")
	if err != nil {
		return nil, none, err
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return nil, none, api.Errorf(api.Invalid, "the time of commit %s is none: %q", commit, clip(out))
	}
	if err := g.tidy(ctx, dir, r, commit); err != nil {
		return nil, none, err
	}
	files, err := os.Open(dir)
	return files, time.Unix(sec, 0).UTC(), err
}

// fetch brings a commit, with nothing before it where the server is willing.
func (g *git) fetch(ctx context.Context, dir string, r *resolved) error {
	want := r.commit
	if r.ref != "" && !g.source.byCommit {
		want = r.ref
	}
	var err error
	for _, args := range [][]string{
		{"--depth=1", "--no-tags", "--", "origin", want}, {"--depth=1", "--no-tags", "--", "origin", r.commit}, {"--tags", "--", "origin"},
	} {
		_, err = g.run(ctx, dir, append([]string{"fetch", "--quiet", "--no-recurse-submodules"}, args...)...)
		if err == nil {
			if _, err = g.run(ctx, dir, "cat-file", "-e", r.commit+"^{commit}"); err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// submodules brings those of a checkout, and theirs: as many as anybody has.
func (g *git) submodules(ctx context.Context, top string) error {
	type place struct {
		dir  string
		deep int
	}
	count := 0
	for todo := []place{{top, 0}}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		if st, err := os.Lstat(filepath.Join(at.dir, ".gitmodules")); err != nil || !st.Mode().IsRegular() {
			continue
		}
		if at.deep >= maxModuleDeep {
			return api.Errorf(api.Invalid, "submodules lie in each other more than %d deep", maxModuleDeep)
		}
		if _, err := g.run(ctx, at.dir, "submodule", "--quiet", "update", "--init", "--depth=1"); err != nil {
			return err
		}
		out, err := g.run(ctx, at.dir, "ls-files", "--stage", "-z")
		if err != nil {
			return err
		}
		for entry := range strings.SplitSeq(out, "\x00") {
			info, name, ok := strings.Cut(entry, "\t")
			if !ok || !strings.HasPrefix(info, "160000 ") {
				continue
			}
			if count++; count > maxSubmodules {
				return api.Errorf(api.Invalid, "there are more than %d submodules", maxSubmodules)
			}
			if !filepath.IsLocal(name) || viaLink(at.dir, name) {
				return api.Errorf(api.Invalid, "the submodule %q leads elsewhere", name)
			}
			todo = append(todo, place{filepath.Join(at.dir, name), at.deep + 1})
		}
	}
	return nil
}

// viaLink tells whether anything on the way to a name is no folder.
func viaLink(dir, name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		dir = filepath.Join(dir, part)
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
			return true
		}
	}
	return false
}

// tidy leaves in a .git that is kept what a clone has, and nothing of this machine.
func (g *git) tidy(ctx context.Context, dir string, r *resolved, commit string) error {
	if !g.source.keep {
		return nil
	}
	u, err := gitutil.ParseURL(g.source.remote)
	remote := g.source.remote
	if err == nil && u.User != nil {
		remote = redacted(g.source.remote)
	}
	commands := [][]string{{"config", "remote.origin.url", remote}, {"reflog", "expire", "--all", "--expire=now"}}
	if name, ok := strings.CutPrefix(r.ref, "refs/heads/"); ok {
		commands = append(commands, []string{"update-ref", "refs/heads/" + name, commit}, []string{"symbolic-ref", "HEAD", "refs/heads/" + name})
	} else if strings.HasPrefix(r.ref, "refs/tags/") {
		commands = append(commands, []string{"update-ref", r.ref, r.commit})
	}
	for _, args := range commands {
		if _, err := g.run(ctx, dir, args...); err != nil {
			return err
		}
	}
	for _, name := range []string{"FETCH_HEAD", "ORIG_HEAD", "logs"} {
		if err := os.RemoveAll(filepath.Join(dir, ".git", name)); err != nil {
			return err
		}
	}
	return nil
}
