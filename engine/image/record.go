package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/store"
)

// Where records are kept under the data root.
const (
	imagesDir = "images" // <hex of the id>.json: imageRecord
	namesDir  = "names"  // <escaped name>.json: nameRecord
)

// imageRecord is an image on disk. The document is kept to the byte: its digest is
// the image's id.
type imageRecord struct {
	Document []byte     `json:"document"`
	Parent   oci.Digest `json:"parent,omitempty"`
	Tagged   time.Time  `json:"tagged,omitzero"`
	Sources  []source   `json:"sources,omitempty"`
}

// nameRecord is a name on disk.
type nameRecord struct {
	Name  string     `json:"name"` // in full
	Image oci.Digest `json:"image"`
}

// newImage makes an Image of a document.
func newImage(raw []byte) (*Image, error) {
	doc, err := oci.ParseImage(raw)
	if err != nil {
		return nil, err
	}
	img := &Image{ID: oci.FromBytes(raw), Doc: doc, Chains: oci.ChainIDs(doc.DiffIDs())}
	if len(doc.Config) > 0 && string(doc.Config) != "null" {
		img.configured = true
		if err := json.Unmarshal(doc.Config, &img.Config); err != nil {
			return nil, fmt.Errorf("config of the image: %w", err)
		}
	}
	if len(doc.ContainerConfig) > 0 {
		if err := json.Unmarshal(doc.ContainerConfig, &api.ContainerConfig{}); err != nil {
			return nil, fmt.Errorf("container config of the image: %w", err)
		}
	}
	return img, nil
}

// catalog is the images and their names, on disk and in memory.
type catalog struct {
	deps Deps

	mu       sync.RWMutex // guards index, and the leases; never held over I/O
	index    index
	doubtful bool // a record of an image could not be read
}

// Count gives the number of images.
func (c *catalog) Count() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.index.images)
}

// writeImage makes the record of an image durable.
func (c *catalog) writeImage(img *Image) error {
	path := c.deps.Root.Path(imagesDir, img.ID.Hex()+".json")
	err := store.WriteRecord(path, imageRecord{Document: img.Doc.Raw, Parent: img.Parent, Tagged: img.Tagged, Sources: img.sources}, true)
	if err != nil {
		return fmt.Errorf("keep image %s: %w", img.ID.Short(), err)
	}
	return nil
}

func (c *catalog) deleteImage(img *Image) error {
	return remove(c.deps.Root.Path(imagesDir, img.ID.Hex()+".json"))
}

func (c *catalog) namePath(full string) string {
	return c.deps.Root.Path(namesDir, escape(full)+".json")
}

// writeName makes a name durable.
func (c *catalog) writeName(ref oci.Reference, id oci.Digest) error {
	full := ref.String()
	if err := store.WriteRecord(c.namePath(full), nameRecord{Name: full, Image: id}, true); err != nil {
		return fmt.Errorf("keep the name %s: %w", ref.Familiar(), err)
	}
	return nil
}

func (c *catalog) deleteName(ref oci.Reference) error { return remove(c.namePath(ref.String())) }

// remove removes a record and makes that durable. One that is gone is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// escape makes a file's name of a reference: letters, digits, dots and dashes stand for
// themselves, a slash is a plus, what else there is is %XX; the end of one that is too
// long is replaced by its hash.
func escape(full string) string {
	const most = 200 // bytes; file systems take 255
	var b strings.Builder
	for _, c := range []byte(full) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
			b.WriteByte(c)
		case c == '/':
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= most {
		return b.String()
	}
	sum := sha256.Sum256([]byte(full))
	return b.String()[:most-2*sha256.Size-1] + "~" + hex.EncodeToString(sum[:])
}

// restore reads all records.
func (c *catalog) restore() error {
	for _, dir := range []string{imagesDir, namesDir} {
		if err := os.MkdirAll(c.deps.Root.Path(dir), 0o700); err != nil {
			return fmt.Errorf("open the images: %w", err)
		}
	}
	err := c.eachRecord(imagesDir, func(path, stem string) error {
		img, err := c.readImage(path, stem)
		if err == nil {
			c.index.add(img)
		}
		c.doubtful = c.doubtful || err != nil
		return err
	})
	if err != nil {
		return err
	}
	for _, img := range c.index.images {
		if c.index.images[img.Parent] == nil {
			delete(c.index.children, img.Parent)
			img.Parent = ""
		}
	}
	return c.eachRecord(namesDir, func(path, stem string) error {
		var rec nameRecord
		if err := store.ReadRecord(path, &rec); err != nil {
			return err
		}
		ref, err := oci.ParseReference(rec.Name)
		switch {
		case err != nil:
			return err
		case ref.String() != rec.Name || escape(rec.Name) != stem:
			return fmt.Errorf("%s holds the name %q", path, rec.Name)
		case c.index.images[rec.Image] == nil:
			c.deps.Log.Warn("a name leads to an image that is gone: dropped", "name", rec.Name, "image", rec.Image)
			return remove(path)
		}
		c.index.name(ref, rec.Image)
		return nil
	})
}

// eachRecord reads the records of a folder. One that is bad is logged and left alone.
func (c *catalog) eachRecord(dir string, read func(path, stem string) error) error {
	entries, err := os.ReadDir(c.deps.Root.Path(dir))
	if err != nil {
		return fmt.Errorf("open the images: %w", err)
	}
	for _, e := range entries {
		path := c.deps.Root.Path(dir, e.Name())
		stem, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			if store.HalfWritten(e.Name()) {
				err = errors.Join(err, os.Remove(path))
			}
			continue
		}
		if err := read(path, stem); err != nil {
			c.deps.Log.Error("a record is bad and left alone", "file", path, "error", err)
		}
	}
	return err
}

func (c *catalog) readImage(path, stem string) (*Image, error) {
	var rec imageRecord
	if err := store.ReadRecord(path, &rec); err != nil {
		return nil, err
	}
	if got := oci.FromBytes(rec.Document); got.Hex() != stem {
		return nil, fmt.Errorf("%s holds the document %s", path, got)
	}
	img, err := newImage(rec.Document)
	if err != nil {
		return nil, err
	}
	for _, chain := range img.Chains {
		if _, err := c.deps.Layers.Get(string(chain)); err != nil {
			return nil, fmt.Errorf("layer of image %s: %w", img.ID.Short(), err)
		}
	}
	img.Parent, img.Tagged, img.sources = rec.Parent, rec.Tagged, rec.Sources
	return img, nil
}

// byID gives a known image, or nil.
func (c *catalog) byID(id oci.Digest) *Image {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index.images[id]
}

// named gives the image that has a name, or nil.
func (c *catalog) named(ref oci.Reference) *Image {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index.named(ref)
}

// all gives every image.
func (c *catalog) all() []*Image {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]*Image, 0, len(c.index.images))
	for _, img := range c.index.images {
		list = append(list, img)
	}
	slices.SortFunc(list, func(a, b *Image) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list
}

// references gives an image's names, sorted.
func (c *catalog) references(id oci.Digest) []oci.Reference {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index.references(id)
}
