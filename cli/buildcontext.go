package cli

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

// buildContexts are the files that a build reads: folders of this machine, which an engine on it reads in
// place, and what came over stdin.
type buildContexts struct {
	folders  map[string]buildFolder
	streams  map[string]io.Reader // tars to be sent in any case
	remote   string
	filename string
}

// buildFolder is a folder of this machine. Only files are what is sent of it, unless that is empty.
type buildFolder struct {
	path    string
	ignored string // the file that says what is left out
	only    []string
}

// readContexts finds out what a build reads.
func (o *buildFlags) readContexts(ctx context.Context, a *App, r *api.BuildRequest) (*buildContexts, error) {
	c := &buildContexts{folders: map[string]buildFolder{}, streams: map[string]io.Reader{}, filename: o.file}
	dockerfile, err := o.dockerfile(ctx, a)
	if err != nil {
		return nil, err
	}
	if dockerfile != nil {
		defer dockerfile.Close()
	}
	switch {
	case o.source == "-" && dockerfile != nil:
		err = errors.New("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
	case o.source == "-":
		err = c.readStdin(a.In)
	case isRemote(o.source):
		c.remote = o.source
		if dockerfile != nil {
			err = c.readDockerfile(dockerfile)
			r.Options["dockerfilekey"] = "dockerfile"
		}
	default:
		err = c.readFolder(o, dockerfile)
	}
	if err != nil {
		return nil, err
	}
	if c.filename != "" {
		r.Options["filename"] = c.filename
	}
	if c.remote != "" {
		r.Options["context"] = c.remote
	}
	for _, s := range o.contexts {
		if err := c.named(s, r); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// dockerfile opens a Dockerfile that is no file here: on stdin, or at a URL. There is none for another.
func (o *buildFlags) dockerfile(ctx context.Context, a *App) (io.ReadCloser, error) {
	if o.file == "-" && o.source != "-" {
		return io.NopCloser(a.In), nil
	}
	if !strings.HasPrefix(o.file, "http://") && !strings.HasPrefix(o.file, "https://") {
		return nil, nil
	}
	if a.Fetch != nil {
		return a.Fetch(ctx, o.file)
	}
	if a.Whole == nil {
		return nil, fmt.Errorf("read the Dockerfile from %s: this program speaks to the engine alone", o.file)
	}
	return nil, a.Whole(append([]string{a.name}, a.Args[1:]...))
}

// isRemote tells a URL from a path, as Docker does.
func isRemote(s string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(s, prefix) {
			_, err := os.Stat(s)
			return err != nil
		}
	}
	return false
}

// readFolder takes a folder as the context; a Dockerfile may come from elsewhere.
func (c *buildContexts) readFolder(o *buildFlags, dockerfile io.Reader) error {
	st, err := os.Stat(o.source)
	if err != nil || !st.IsDir() {
		return fmt.Errorf("unable to prepare context: path %q not found", o.source)
	}
	dir, err := filepath.Abs(o.source)
	if err != nil {
		return err
	}
	main := buildFolder{path: dir}
	files := buildFolder{path: dir}
	switch {
	case dockerfile != nil:
		if err := c.readDockerfile(dockerfile); err != nil {
			return err
		}
	case o.file != "":
		file, err := filepath.Abs(o.file)
		if err != nil {
			return err
		}
		files.path, c.filename = filepath.Dir(file), filepath.Base(file)
		if st, err := os.Stat(files.path); err != nil || !st.IsDir() {
			return fmt.Errorf("unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat %s: no such file or directory", file)
		}
	}
	name := c.filename
	if name == "" {
		name = "Dockerfile"
	}
	if dockerfile == nil {
		files.only = []string{name, strings.ToLower(name), name + ".dockerignore", ".dockerignore"}
		c.folders["dockerfile"] = files
		main.ignored = filepath.Join(files.path, name+".dockerignore")
	}
	if _, err := os.Stat(main.ignored); err != nil {
		main.ignored = filepath.Join(dir, ".dockerignore")
	}
	c.folders["context"] = main
	return nil
}

// readDockerfile takes a Dockerfile that is sent by itself.
func (c *buildContexts) readDockerfile(in io.Reader) error {
	const most = 16 << 20
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(b) > most {
		err = errors.New("it is larger than 16 MB")
	}
	if err != nil {
		return fmt.Errorf("read the Dockerfile: %w", err)
	}
	c.filename = "Dockerfile"
	c.streams["dockerfile"] = bytes.NewReader(tarOf("Dockerfile", b))
	return nil
}

// readStdin takes a tar as the context, or a Dockerfile without one.
func (c *buildContexts) readStdin(in io.Reader) error {
	r := bufio.NewReader(in)
	head, err := r.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("unable to prepare context from STDIN: failed to peek context header from STDIN: %w", err)
	}
	if isArchive(head) {
		c.streams["context"] = r
		return nil
	}
	if len(head) == 0 {
		return errors.New("failed to read dockerfile: stdin is empty")
	}
	if c.filename != "" {
		return errors.New("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
	}
	c.streams["context"] = bytes.NewReader(tarOf("", nil))
	return c.readDockerfile(r)
}

// isArchive tells a tar, plain or compressed, by its first bytes.
func isArchive(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}

// tarOf packs one file, or none.
func tarOf(name string, content []byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b) // a buffer takes anything
	if name != "" {
		_ = (&tarEntry{name, content}).write(w)
	}
	_ = w.Close()
	return b.Bytes()
}

// named adds a context of --build-context.
func (c *buildContexts) named(s string, r *api.BuildRequest) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("invalid context value: %s, expected key=value", s)
	}
	name = strings.ToLower(name)
	kind, rest, scheme := strings.Cut(value, "://")
	switch {
	case scheme && kind == "oci-layout":
		var err error
		if value, err = c.layout(rest); err != nil {
			return fmt.Errorf("failed to get build context %s: %w", name, err)
		}
	case !scheme && !isRemote(value):
		st, err := os.Stat(value)
		if err != nil || !st.IsDir() {
			return fmt.Errorf("failed to get build context %s: %q is no folder", name, value)
		}
		if value, err = filepath.Abs(value); err != nil {
			return err
		}
		c.folders[name] = buildFolder{path: value, ignored: filepath.Join(value, ".dockerignore")}
		value = "local:" + name
	}
	r.Options["context:"+name] = value
	return nil
}

// layout takes an OCI layout, PATH[:TAG][@DIGEST], as a folder of its own, and says which image of it is meant.
func (c *buildContexts) layout(spec string) (string, error) {
	path, id, digested := strings.Cut(spec, "@")
	tag := ""
	if at := strings.LastIndexByte(path, ':'); at > strings.LastIndexByte(path, '/') {
		path, tag = path[:at], path[at+1:]
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if !digested {
		raw, err := os.ReadFile(filepath.Join(path, oci.IndexFile))
		if err != nil {
			return "", err
		}
		_, index, err := oci.ParseManifest(raw)
		if err == nil && index == nil {
			err = errors.New("it is a manifest and no index")
		}
		if err != nil {
			return "", fmt.Errorf("%s/%s: %w", path, oci.IndexFile, err)
		}
		n := slices.IndexFunc(index.Manifests, func(d oci.Descriptor) bool {
			return tag == "" && len(index.Manifests) == 1 || d.Annotations[oci.AnnotationRefName] == cmp.Or(tag, "latest")
		})
		if n < 0 {
			return "", fmt.Errorf("could not find reference %q in %s", cmp.Or(tag, "latest"), path)
		}
		id = string(index.Manifests[n].Digest)
	}
	store := fmt.Sprintf("layout%d", len(c.folders))
	c.folders[store] = buildFolder{path: path}
	return "oci-layout://" + store + "@" + id, nil
}

// inPlace says of each folder where it is, so that an engine of this machine reads it there.
func (c *buildContexts) inPlace(r *api.BuildRequest) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	r.Machine = strings.TrimSpace(string(boot))
	for name, f := range c.folders {
		st, err := os.Stat(f.path)
		if err != nil {
			return err
		}
		id, _ := severalNames(st)
		r.Contexts[name] = api.BuildContext{Path: f.path, Device: id[0], Inode: id[1]}
	}
	return nil
}

// send sends what came over stdin, and with folders those, too.
func (c *buildContexts) send(ctx context.Context, b client.Builds, r *api.BuildRequest, folders, compress bool) error {
	for name, s := range c.streams {
		id, err := b.Send(ctx, s)
		if err != nil {
			return fmt.Errorf("send the context %s: %w", name, err)
		}
		r.Contexts[name] = api.BuildContext{Upload: id}
		delete(c.streams, name)
		if _, given := c.folders["dockerfile"]; name == "context" && !given && c.streams["dockerfile"] == nil && r.Contexts["dockerfile"].Upload == "" {
			r.Contexts["dockerfile"] = r.Contexts[name] // it is in the tar
		}
	}
	if !folders {
		return nil
	}
	r.Machine = ""
	for name, f := range c.folders {
		pack, err := f.packer(c.filename)
		if err != nil {
			return err
		}
		id, err := b.Send(ctx, client.Writer(func(w io.Writer) error {
			if !compress {
				return pack.run(ctx, w)
			}
			z := gzip.NewWriter(w)
			return errors.Join(pack.run(ctx, z), z.Close())
		}))
		if err != nil {
			return fmt.Errorf("send the context %s: %w", name, err)
		}
		r.Contexts[name] = api.BuildContext{Upload: id}
	}
	return nil
}

// packer makes a tar of what a build may see of a folder; the Dockerfile may be in it.
func (f *buildFolder) packer(dockerfile string) (*packing, error) {
	dir, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return nil, err
	}
	p := &packing{src: copyInfo{path: dir + "/."}, top: ".", asRoot: true}
	if f.only != nil {
		p.skip = func(rel string, _ fs.DirEntry) (bool, error) {
			return rel != "." && !slices.Contains(f.only, rel), nil
		}
		return p, nil
	}
	file, err := os.Open(f.ignored)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("error reading .dockerignore: %w", err)
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.ignored, err)
	}
	kept := []string{".dockerignore", cmp.Or(dockerfile, "Dockerfile")} // the engine reads them, and leaves them out itself
	p.skip = func(rel string, d fs.DirEntry) (bool, error) {
		if rel == "." || slices.Contains(kept, rel) {
			return false, nil
		}
		hit, err := m.MatchesOrParentMatches(rel)
		return hit && !(d.IsDir() && m.Exclusions()), err
	}
	return p, nil
}
