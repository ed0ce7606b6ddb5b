package build

import (
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lighter/api"
)

// repo makes a repository with a branch main, a tag, and a submodule, in a folder that is served over HTTP.
func repo(t *testing.T) (url, first, second string, git func(dir string, args ...string) string) {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git-http-backend is not installed: it comes with git")
	}
	root := t.TempDir()
	git = func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always", "-C", filepath.Join(root, dir)}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
			"GIT_COMMITTER_DATE=1500000000 +0000", "GIT_AUTHOR_DATE=1500000000 +0000", "GIT_CONFIG_GLOBAL=/dev/null")
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, text)
		}
		return strings.TrimSpace(string(text))
	}
	put := func(name, text string) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}})
	t.Cleanup(server.Close)
	put("sub/s", "sub")
	git("sub", "init", "-q", "-b", "main")
	git("sub", "add", ".")
	git("sub", "commit", "-q", "-m", "x")
	put("r/a", "one")
	put("r/d/b", "B")
	git("r", "init", "-q", "-b", "main")
	git("r", "config", "uploadpack.allowAnySHA1InWant", "true")
	git("r", "add", ".")
	git("r", "commit", "-q", "-m", "x")
	git("r", "tag", "-m", "t", "v1")
	first = git("r", "rev-parse", "HEAD")
	put("r/a", "two")
	git("r", "-c", "protocol.file.allow=always", "submodule", "add", "-q", filepath.Join(root, "sub"), "m")
	git("r", "config", "-f", ".gitmodules", "submodule.m.url", server.URL+"/sub/.git")
	git("r", "add", ".")
	git("r", "commit", "-q", "-m", "y")
	second = git("r", "rev-parse", "HEAD")
	return server.URL + "/r/.git", first, second, git
}

func TestGit(t *testing.T) {
	b := newFileBench(t)
	url, first, _, git := repo(t)
	run := func(dockerfile string) (string, *api.BuildError) {
		t.Helper()
		got, fail := b.image(t, strings.ReplaceAll(dockerfile, "URL", url))
		return strings.Join(got, "|"), fail
	}
	two := "--|x/ 755 0:0|x/.gitmodules 644 0:0 [submodule \"m\"]\n\tpath = m\n\turl = " + strings.TrimSuffix(url, "/r/.git") + "/sub/.git|x/a 755 0:0 two|x/d/ 755 0:0|x/d/b 755 0:0 B|x/m/ 755 0:0|x/m/s 755 0:0 sub"
	one := "--|x/ 755 0:0|x/a 755 0:0 one|x/d/ 755 0:0|x/d/b 755 0:0 B"
	for _, c := range []struct{ name, dockerfile, want string }{
		{"default branch", "FROM scratch\nADD URL /x\n", two},
		{"branch", "FROM scratch\nADD URL#main /x\n", two},
		{"tag", "FROM scratch\nADD URL#v1 /x\n", one},
		{"full name of a tag", "FROM scratch\nADD URL#refs/tags/v1 /x\n", one},
		{"commit", "FROM scratch\nADD URL#" + first + " /x\n", one},
		{"folder", "FROM scratch\nADD URL#v1:d /x\n", "--|x/ 755 0:0|x/b 755 0:0 B"},
		{"checksum", "FROM scratch\nADD --checksum=" + first + " URL#v1 /x\n", one},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fail := run(c.dockerfile)
			if fail != nil {
				t.Fatal(fail.Message)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	got, fail := run("FROM scratch\nADD --keep-git-dir=true URL#v1 /x\n")
	if fail != nil || !strings.Contains(got, "|x/.git/HEAD 644") || strings.Contains(got, b.Root.Path()) || strings.Contains(got, "hooks/pre") {
		t.Errorf("%+v %.3000s", fail, got)
	}
	for want, dockerfile := range map[string]string{
		"repository does not contain ref nosuch": "FROM scratch\nADD URL#nosuch /x\n",
		"expected checksum to match 00000000":    "FROM scratch\nADD --checksum=00000000 URL#v1 /x\n",
		"invalid git ref":                        "FROM scratch\nADD URL#--upload-pack=x /x\n",
		"invalid subdir":                         "FROM scratch\nADD URL#main:nosuch /x\n",
		"failed to fetch remote":                 "FROM scratch\nADD URL /x\n",
	} {
		_, fail := run(strings.ReplaceAll(dockerfile, "URL", url))
		if strings.HasPrefix(want, "failed to fetch") {
			_, fail = run("FROM scratch\nADD " + strings.Replace(url, "/r/", "/none/", 1) + "#main /x\n")
		}
		if fail == nil || !strings.Contains(fail.Message, want) {
			t.Errorf("%+v, want %s", fail, want)
		}
	}
	// A folder that leads out of the repository, by dots or by a link in it.
	if err := os.Symlink("/etc", filepath.Join(git("r", "rev-parse", "--show-toplevel"), "out")); err != nil {
		t.Fatal(err)
	}
	git("r", "add", "out")
	git("r", "commit", "-q", "-m", "o")
	for _, folder := range []string{"../../", "..", "d/../../..", "%2e%2e", "/etc", "out", "out/../.."} {
		if got, fail := run("FROM scratch\nADD URL#main:" + folder + " /x\n"); fail == nil && strings.Contains(got, "passwd") {
			t.Errorf("%s: %s", folder, got)
		}
	}
	git("r", "rm", "-q", "-f", "out")
	git("r", "commit", "-q", "-m", "p")
	// What a submodule says is not followed to the machine's own files.
	git("r", "config", "-f", ".gitmodules", "submodule.m.url", "file:///"+b.dir)
	git("r", "commit", "-q", "-a", "-m", "z")
	if _, fail := run("FROM scratch\nADD URL#main /x\n"); fail == nil || !strings.Contains(fail.Message, "not allowed") {
		t.Errorf("%+v", fail)
	}
	git("r", "config", "-f", ".gitmodules", "submodule.m.url", "ext::sh -c touch% "+b.dir+"/owned")
	git("r", "commit", "-q", "-a", "-m", "z")
	if _, fail := run("FROM scratch\nADD URL#main /x\n"); fail == nil {
		t.Error("a transport that runs programs was taken")
	}
	if _, err := os.Stat(b.dir + "/owned"); err == nil {
		t.Error("a submodule ran a program")
	}
}

// The time of a commit is asked for once; another commit is another question.
func TestCommitTimes(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	git := func(date string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE="+date)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var c commitTimes
	if at, ok := c.of(t.Context(), dir); ok {
		t.Errorf("a folder without a repository: %v", at)
	}
	git("", "init", "-q")
	if at, ok := c.of(t.Context(), dir); ok {
		t.Errorf("a repository without a commit: %v", at)
	}
	for n, want := range []int64{1_600_000_000, 1_500_000_000} {
		git(strconv.FormatInt(want, 10)+" +0000", "commit", "-q", "--allow-empty", "-m", "x")
		for range 2 {
			if at, ok := c.of(t.Context(), dir); !ok || at.Unix() != want || len(c.known) != n+1 {
				t.Errorf("%v, %t, want %d: %v", at, ok, want, c.known)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git", "objects")); err != nil {
		t.Fatal(err)
	}
	if at, ok := c.of(t.Context(), dir); !ok || at.Unix() != 1_500_000_000 {
		t.Errorf("git was asked again: %v", at)
	}
}
