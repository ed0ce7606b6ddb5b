package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"

	"lighter/api"
	"lighter/store/tree"
)

// gitSource is a commit of a git repository: ADD of one, and a build's context in one.
type gitSource struct {
	remote   string
	ref      string // a branch, a tag, a commit; "" for the default branch
	subdir   string
	checksum string // what the commit's id begins with
	keep     bool   // the folder .git stays
	byCommit bool   // checksum is the commit, whatever ref is by now
	plain    bool   // without submodules

	token, header string // the secrets to log in with
	knownHosts    string
	agent         string
}

var hexID = regexp.MustCompile("^[0-9a-fA-F]{1,64}$")

func newGitSource(_ *pb.Op, source *pb.SourceOp) (op, error) {
	s := &gitSource{}
	_, name := schemeOf(source)
	if !gitutil.IsGitTransport(name) {
		name = "https://" + name
	}
	at, err := gitutil.ParseURL(name)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	if s.remote = at.Remote; at.Opts != nil {
		s.ref, s.subdir = at.Opts.Ref, at.Opts.Subdir
	}
	for attr, value := range source.Attrs {
		if err := s.attr(at, attr, value); err != nil {
			return nil, api.Errorf(api.Invalid, "git: %w", err)
		}
	}
	s.subdir = strings.TrimPrefix(path.Join("/", s.subdir), "/")
	switch {
	case strings.HasPrefix(s.ref, "-") || strings.ContainsAny(s.ref, "\x00\n:*?[\\^~ "):
		return nil, api.Errorf(api.Invalid, "invalid git ref %q", s.ref)
	case s.checksum != "" && !hexID.MatchString(s.checksum):
		return nil, api.Errorf(api.Invalid, "invalid checksum %s for Git URL, expected hex commit hash", s.checksum)
	case s.byCommit && !gitutil.IsCommitSHA(s.checksum) && !gitutil.IsCommitSHA(s.ref):
		return nil, api.Errorf(api.Invalid, "fetch-by-commit requires a checksum or a commit SHA ref")
	}
	return s, nil
}

// attr takes one attribute of the definition.
func (s *gitSource) attr(id *gitutil.GitURL, attr, value string) error {
	switch attr {
	case pb.AttrFullRemoteURL:
		if !gitutil.IsGitTransport(value) {
			value = "https://" + value
		}
		at, err := gitutil.ParseURL(value)
		if err != nil {
			return errors.New("failed to parse git.fullurl")
		}
		same := func(u *gitutil.GitURL) string { return strings.TrimSuffix(path.Join("/", u.Path), ".git") }
		if !strings.EqualFold(at.Host, id.Host) || same(at) != same(id) {
			return errors.New("git.fullurl does not match source identifier")
		}
		s.remote = at.Remote
	case pb.AttrKeepGitDir:
		s.keep = value == "true"
	case pb.AttrAuthTokenSecret:
		s.token = value
	case pb.AttrAuthHeaderSecret:
		s.header = value
	case pb.AttrKnownSSHHosts:
		s.knownHosts = value
	case pb.AttrMountSSHSock:
		s.agent = value
	case pb.AttrGitChecksum:
		s.checksum = strings.ToLower(value)
	case pb.AttrGitSkipSubmodules:
		s.plain = value == "true"
	case pb.AttrGitFetchByCommit:
		s.byCommit = value == "true"
	case pb.AttrGitMTime, pb.AttrGitAdvice: // files always bear the commit's time
	case pb.AttrGitBundle, pb.AttrGitCheckoutBundle:
		if value != "" && value != "false" {
			return errors.New("bundles are not known here")
		}
	case pb.AttrGitSignatureVerifyPubKey:
		return errors.New("signatures of commits are not verified here; give a checksum")
	}
	return nil
}

// resolved is what a ref stands for at this moment.
type resolved struct {
	commit string // or a tag's object
	peeled string // the commit of a tag that has an object
	ref    string // its full name; "" for a bare commit
}

// key asks the repository what the ref stands for, unless that is a commit.
func (s *gitSource) key(ctx context.Context, j *job, _ []outcome) (*key, error) {
	r, err := s.resolve(ctx, j)
	if err != nil {
		return nil, err
	}
	k := &key{}
	commit := r.commit
	if r.peeled != "" && !s.keep {
		commit = r.peeled
	}
	k.add("commit", commit)
	k.addf("taken", "%q submodules=%t", s.subdir, !s.plain)
	if s.keep {
		k.addf("kept", ".git of %q at %s", r.ref, redacted(s.remote))
	}
	return k, nil
}

// resolve finds out what the ref stands for, once in a job.
func (s *gitSource) resolve(ctx context.Context, j *job) (*resolved, error) {
	if r, ok := j.downloads.Load(s); ok {
		return r.(*resolved), nil
	}
	r, err := s.ask(ctx, j)
	if err == nil {
		j.downloads.Store(s, r)
	}
	return r, err
}

func (s *gitSource) ask(ctx context.Context, j *job) (*resolved, error) {
	if gitutil.IsCommitSHA(s.ref) {
		if !strings.HasPrefix(s.ref, s.checksum) {
			return nil, api.Errorf(api.Invalid, "expected checksum to match %s, got %s", s.checksum, s.ref)
		}
		return &resolved{commit: s.ref}, nil
	}
	if s.byCommit {
		return &resolved{commit: s.checksum, ref: s.ref}, nil
	}
	g, err := newGit(ctx, j, s)
	if err != nil {
		return nil, err
	}
	defer g.close()
	ref := s.ref
	if ref == "" {
		if ref, err = g.defaultBranch(ctx); err != nil {
			return nil, err
		}
	}
	out, err := g.run(ctx, "", "ls-remote", "--", s.remote, ref, ref+"^{}")
	if err != nil {
		return nil, fmt.Errorf("failed to fetch remote %s: %w", redacted(s.remote), err)
	}
	r := choose(ref, out)
	switch {
	case r.commit == "":
		return nil, api.Errorf(api.Invalid, "repository does not contain ref %s, output: %q", ref, clip(out))
	case !gitutil.IsCommitSHA(r.commit):
		return nil, api.Errorf(api.Invalid, "invalid commit sha %q", r.commit)
	case !strings.HasPrefix(r.commit, s.checksum) && !strings.HasPrefix(r.peeled, s.checksum):
		got := r.commit
		if r.peeled != "" {
			got += " or " + r.peeled
		}
		return nil, api.Errorf(api.Invalid, "expected checksum to match %s, got %s", s.checksum, got)
	}
	return &r, nil
}

// choose finds a ref among those that a repository has told: one whose full name it is, else a branch, else a tag.
func choose(ref, told string) resolved {
	found := map[string]string{}
	for line := range strings.Lines(told) {
		id, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if ok {
			found[name] = id
		}
	}
	bare := strings.TrimPrefix(ref, "refs/")
	tag := "refs/tags/" + strings.TrimPrefix(ref, "refs/tags/")
	for _, name := range []string{"refs/" + bare, "refs/heads/" + strings.TrimPrefix(ref, "refs/heads/"), tag} {
		if id := found[name]; id != "" {
			r := resolved{commit: id, ref: name}
			if name == tag {
				r.peeled = found[tag+"^{}"]
			}
			return r
		}
	}
	return resolved{}
}

// clip shortens what a repository said for an error.
func clip(s string) string { return s[:min(len(s), 2000)] }

// run makes a layer of the files of the commit.
func (s *gitSource) run(ctx context.Context, j *job, _ *vertex, _ []outcome) (_ []outcome, err error) {
	r, err := s.resolve(ctx, j)
	if err != nil {
		return nil, err
	}
	g, err := newGit(ctx, j, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	files, date, err := g.checkout(ctx, r)
	if err != nil {
		return nil, err
	}
	src := &tree.Source{Root: files, Name: "git repository", Unowned: true, Date: date}
	defer src.Close()
	if !s.keep || s.subdir != "" {
		src.Exclude = []string{".git", "**/.git"} // in submodules it is a file that tells of places here
	}
	x, err := src.Pick(ctx, tree.Pick{Path: "/" + s.subdir, Contents: true})
	if err == nil && s.subdir != "" && !x.IsDir() {
		err = fmt.Errorf("git subpath %q contains non-directory %q", s.subdir, s.subdir)
	}
	if err != nil {
		return nil, api.Errorf(api.Invalid, "invalid subdir %s: %w", s.subdir, err)
	}
	until, err := (dater{j}).until(nil, date)
	if err != nil {
		return nil, err
	}
	desk, err := newDesk(j, "", until)
	if err != nil {
		return nil, err
	}
	if err := desk.target.Copy(ctx, x, tree.CopyOptions{Dest: "/", As: tree.As{Mode: gitMode}}); err != nil {
		return nil, errors.Join(err, desk.drop())
	}
	top, err := desk.commit(ctx, j)
	return []outcome{{top: top}}, err
}

// gitMode gives permissions whatever the umask here: git knows no more of a file than whether it is a program.
func gitMode(m uint32) uint32 {
	switch {
	case m&0o170000 == 0o040000 || m&0o100 != 0:
		return 0o755
	case m&0o200 == 0: // its own objects
		return 0o444
	}
	return 0o644
}
