// Package image is the engine's images: names lead to image documents, documents to
// layers. It imports, loads, saves, lists, tags, removes and prunes them.
//
// It counts no references on disk. What names and documents there are is walked; what
// nothing names is swept. It runs no container and knows containers only as users of
// images that it must not take away.
package image

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"lighter/api"
	"lighter/engine/event"
	"lighter/oci"
	"lighter/registry"
	"lighter/store"
	"lighter/store/content"
	"lighter/store/layer"
)

// Image is one image, as it is kept in memory. It never changes once it is made: a
// change makes another.
type Image struct {
	ID     oci.Digest // of the document
	Doc    *oci.Image
	Config api.ContainerConfig // the run config of the document; zero when it has none
	Parent oci.Digest          // the image that it was made from here, or empty
	Tagged time.Time           // when a name was last given to it; zero when never
	Chains []oci.Digest        // the chain id of each layer, lowest first

	configured bool     // the document has a run config
	sources    []source // the manifests by which registries know it, the newest last
}

// TopLayer gives the chain id of the image's whole stack of layers, empty for none.
func (img *Image) TopLayer() oci.Digest {
	if len(img.Chains) == 0 {
		return ""
	}
	return img.Chains[len(img.Chains)-1]
}

// User is a container, as images see it.
type User struct {
	Container string       // its id
	Image     oci.Digest   // the id of the image that it was made from, empty when not known
	TopLayer  oci.Digest   // the chain id of the layers that it stands on
	Mounts    []oci.Digest // the ids of images that it mounts
	Running   bool
}

// Layers is what images need of the layer store, which needs root to do it.
type Layers interface {
	Stage(ctx context.Context, r io.Reader) (*layer.Staged, error)
	CommitChain(ctx context.Context, staged []*layer.Staged, parent string) ([]layer.Layer, error)
	Get(chainID string) (layer.Layer, error)
	List() []layer.Layer
	Pack(ctx context.Context, chainID string, w io.Writer) error
	Remove(chainID string) error
	Data(top string) map[string]string
	View(top string, remapped bool) (*os.File, error)
}

// Deps is what Images stand on.
type Deps struct {
	Log      *slog.Logger
	Root     *store.Root
	Layers   Layers
	Blobs    *content.Store // as registries have them: manifests and packed layers
	Registry *registry.Client

	Downloads, Uploads int // layers that come, and of an image go up, at a time; 0 for 3 and 5

	Events *event.Log
	Users  func() []User // the containers there are; it must not call back, nor wait for one

	Step func(name string) // told how far a commit came; nil, but where such a death is tried
}

// Images is all images of the engine. Its methods may be called from anywhere at any time.
type Images struct {
	Deps
	*catalog

	// change is held over every change of what is kept: records, names, removal of
	// layers. Readers do not take it.
	change  sync.Mutex
	leases  map[oci.Digest]int  // chains that something under way relies on; guarded by mu
	going   map[oci.Digest]bool // chains that are being removed; guarded by mu
	pruning sync.Mutex

	blobLeases map[oci.Digest]int // blobs that something under way relies on; guarded by mu
	transfers  *transfers
}

// Open reads the records of the data root. A record that cannot be read is logged and
// left alone; a name whose image is gone is dropped.
func Open(d Deps) (*Images, error) {
	i := &Images{Deps: d, catalog: &catalog{deps: d, index: newIndex()}, leases: map[oci.Digest]int{}, going: map[oci.Digest]bool{}, blobLeases: map[oci.Digest]int{}, transfers: newTransfers(d.Downloads)}
	return i, i.restore()
}

// publish tells of an image. The image's labels go along, as they did when it was there.
func (i *Images) publish(action string, img *Image, name string) {
	attrs := map[string]string{}
	if img != nil {
		for k, v := range img.Config.Labels {
			attrs[k] = v
		}
	}
	attrs["name"] = name
	id := name
	if img != nil {
		id = string(img.ID)
	}
	i.Events.Publish("image", action, id, attrs)
}

// publishExchange tells of a pull or a push, which Docker knows by what was asked for.
func (i *Images) publishExchange(action string, img *Image, ref oci.Reference) {
	attrs := maps.Clone(img.Config.Labels)
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs["name"] = ref.FamiliarName()
	i.Events.Publish("image", action, ref.Familiar(), attrs)
}
