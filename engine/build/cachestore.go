package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
)

// cacheStore is a place outside the engine in which a cache is kept: an OCI image layout or a
// repository of a registry.
type cacheStore interface {
	name() string
	// head gives the manifest of what is there; nil when nothing is.
	head(ctx context.Context) (raw []byte, err error)
	open(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
	has(ctx context.Context, d oci.Descriptor) bool
	put(ctx context.Context, d oci.Descriptor, open func() (io.ReadCloser, error)) error
	// finish makes a manifest the head.
	finish(ctx context.Context, raw []byte) error
}

// maxCacheDocument bounds what is read of a cache into memory, in bytes.
const maxCacheDocument = 32 << 20

// cacheStoreOf finds the place that an option names; folder is the attribute that has a local one's path.
func cacheStoreOf(j *job, o api.BuildCacheOption, folder string) (cacheStore, error) {
	switch o.Type {
	case "local":
		dir := o.Attrs[folder]
		if !filepath.IsAbs(dir) {
			return nil, api.Errorf(api.Invalid, "a cache of type local needs %s with an absolute path: %q", folder, dir)
		}
		return &folderCache{dir: dir, tag: o.Attrs["tag"]}, nil
	case "registry":
		ref, err := oci.ParseReference(o.Attrs["ref"])
		if err != nil {
			return nil, api.Errorf(api.Invalid, "a cache of type registry needs ref: %w", err)
		}
		a, err := j.client.Login(j.ctx, ref.Domain)
		if err != nil {
			return nil, err
		}
		who := registry.Credentials{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		return &registryCache{ref: ref.OrLatest(), repo: j.b.Images.Registry.Repository(ref, who)}, nil
	}
	return nil, api.Errorf(api.Invalid, "a cache of type %q is not known: there are inline, registry and local", o.Type)
}

// registryCache is a tag of a registry.
type registryCache struct {
	ref  oci.Reference
	repo *registry.Repository
}

func (c *registryCache) name() string { return c.ref.Familiar() }

func (c *registryCache) tag() string {
	if c.ref.Digest != "" {
		return string(c.ref.Digest)
	}
	return c.ref.Tag
}

func (c *registryCache) head(ctx context.Context) ([]byte, error) {
	_, raw, err := c.repo.Manifest(ctx, c.tag())
	if registry.NotFound(err) {
		return nil, nil
	}
	return raw, err
}

func (c *registryCache) open(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	return c.repo.Blob(ctx, d, 0, nil)
}

func (c *registryCache) has(ctx context.Context, d oci.Descriptor) bool {
	ok, err := c.repo.Has(ctx, d.Digest)
	return err == nil && ok
}

func (c *registryCache) put(ctx context.Context, d oci.Descriptor, open func() (io.ReadCloser, error)) error {
	_, _, err := c.repo.Push(ctx, registry.Upload{Want: d, Open: open})
	return err
}

func (c *registryCache) finish(ctx context.Context, raw []byte) error {
	_, err := c.repo.PutManifest(ctx, c.tag(), oci.MediaManifest, raw)
	return err
}

// folderCache is an OCI image layout.
type folderCache struct{ dir, tag string }

func (c *folderCache) name() string { return c.dir }

func (c *folderCache) root() (*os.Root, error) { return os.OpenRoot(c.dir) }

func (c *folderCache) read(name string) ([]byte, error) {
	root, err := c.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := regular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCacheDocument))
}

func (c *folderCache) head(context.Context) ([]byte, error) {
	raw, err := c.read(oci.IndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var index oci.Index
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", c.dir, oci.IndexFile, err)
	}
	for _, d := range index.Manifests {
		if c.tag != "" && d.Annotations[oci.AnnotationRefName] != c.tag || !d.Digest.Valid() {
			continue
		}
		raw, err := c.read(d.BlobPath())
		if err == nil && oci.FromBytes(raw) != d.Digest {
			err = fmt.Errorf("%s/%s is not what it is called", c.dir, d.BlobPath())
		}
		return raw, err
	}
	return nil, nil
}

func (c *folderCache) open(_ context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	if !d.Digest.Valid() {
		return nil, fmt.Errorf("%q is no digest", d.Digest)
	}
	root, err := c.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return regular(root, d.BlobPath())
}

// regular opens a file that is one: a pipe in its place would be waited for.
func regular(root *os.Root, name string) (*os.File, error) {
	if st, err := root.Stat(name); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	return root.Open(name)
}

func (c *folderCache) has(_ context.Context, d oci.Descriptor) bool {
	root, err := c.root()
	if err != nil {
		return false
	}
	defer root.Close()
	st, err := root.Stat(d.BlobPath())
	return err == nil && st.Size() == d.Size
}

func (c *folderCache) put(_ context.Context, d oci.Descriptor, open func() (io.ReadCloser, error)) error {
	in, err := open()
	if err != nil {
		return err
	}
	defer in.Close()
	return c.write(d.BlobPath(), in)
}

// write makes a file, whole or not at all.
func (c *folderCache) write(name string, in io.Reader) (err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	root, err := c.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp := name + ".new"
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}

func (c *folderCache) finish(ctx context.Context, raw []byte) error {
	d := oci.Descriptor{MediaType: oci.MediaManifest, Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	if err := c.write(d.BlobPath(), bytes.NewReader(raw)); err != nil {
		return err
	}
	if c.tag != "" {
		d.Annotations = map[string]string{oci.AnnotationRefName: c.tag}
	}
	index, err := json.Marshal(oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{d}})
	if err == nil {
		err = c.write(oci.LayoutFile, bytes.NewReader([]byte(oci.LayoutContent)))
	}
	if err != nil {
		return err
	}
	return c.write(oci.IndexFile, bytes.NewReader(index))
}
