// Package layer keeps the layers of images, unpacked as overlayfs wants them, and the
// writable layers that containers have on top.
//
// A layer is known by its chain id, the hash of all that it stands on; its folder is
//
//	layers/<hex of the chain id>/
//		layer.json   the Layer; it is written last, and a folder without it is none
//		fs/          the files
//		index        see store/archive
//		aside/       what the tar held and no file holds; mostly not there
//		init/        made when the first container needs it, see Writable
//
// A tar is first staged, which needs nothing but itself, so that all layers of an image
// unpack at once, and then committed onto its parent. Nothing here counts users: who
// removes a layer knows that nobody needs it.
package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"lighter/linux/fs"
	"lighter/oci"
	"lighter/store"
	"lighter/store/archive"
)

// Layer is one layer on top of another. It never changes.
type Layer struct {
	ChainID string    `json:"chainID"`          // sha256:…
	Parent  string    `json:"parent,omitempty"` // the chain id beneath, "" for none
	DiffID  string    `json:"diffID"`           // sha256:… of the plain tar
	Size    int64     `json:"size"`             // bytes of files and links, each file once
	TarSize int64     `json:"tarSize"`          // bytes that Pack writes
	Created time.Time `json:"created"`          // here
	Opaque  bool      `json:"opaque,omitempty"` // it hides all below
}

// ErrNotFound says that a layer is not there.
var ErrNotFound = errors.New("no such layer")

// Store is the layers of one data root. Its methods may be called from many goroutines.
type Store struct {
	// Users are those whose ids remapped mounts show (--userns-remap); set before the first
	// mount, nil for none.
	Users *fs.Users

	root *store.Root

	change   sync.Mutex // held over what renames a layer's folder
	settling sync.Mutex // held by the one Settle in progress

	mu     sync.RWMutex
	layers map[string]Layer // by chain id
	soft   map[string]bool  // those that are not durable yet, see Work
	inits  map[string]*initLayer
	times  times

	damaged []error
}

// Staged is an unpacked tar that is no layer yet. It ends with Commit or Discard.
type Staged struct {
	DiffID  string // sha256:… of the plain tar
	Size    int64  // bytes of files and links, each file once
	TarSize int64

	totals archive.Totals
	dir    string
	store  *Store
}

// Open reads which layers there are, and sweeps away those that were half made. A layer
// whose record is corrupt stays where it is; Damaged tells of it.
func Open(root *store.Root) (*Store, error) {
	s := &Store{root: root, layers: map[string]Layer{}, soft: map[string]bool{}, inits: map[string]*initLayer{}}
	entries, err := os.ReadDir(root.Path("layers"))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Name() == noLayers {
			continue
		}
		path := root.Path("layers", entry.Name())
		var l Layer
		err := store.ReadRecord(root.Path("layers", entry.Name(), "layer.json"), &l)
		switch {
		case errors.Is(err, os.ErrNotExist):
			err = root.Trash(path)
		case err == nil && l.ChainID != "sha256:"+entry.Name():
			err = &store.CorruptError{Path: path, Err: fmt.Errorf("it says it is layer %s", l.ChainID)}
		case err == nil:
			s.layers[l.ChainID] = l
		}
		var corrupt *store.CorruptError
		if errors.As(err, &corrupt) {
			s.damaged = append(s.damaged, err)
		} else if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Damaged tells which layers Open found and could not read.
func (s *Store) Damaged() []error { return s.damaged }

// Stage unpacks the tar that r holds, plain or compressed, and reads r to its end. Errors
// about the tar are archive.ErrInvalid. Several may go on at once.
func (s *Store) Stage(ctx context.Context, r io.Reader) (*Staged, error) {
	plain, _, err := archive.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	dir, err := s.root.Temp("layer")
	if err != nil {
		return nil, err
	}
	totals, err := archive.Unpack(ctx, plain, dir)
	if err != nil {
		return nil, errors.Join(err, s.root.Erase(dir))
	}
	return &Staged{DiffID: totals.DiffID, Size: totals.Size, TarSize: totals.TarSize, totals: totals, dir: dir, store: s}, nil
}

// Discard drops what was staged. After Commit it does nothing.
func (st *Staged) Discard() error {
	if st.dir == "" {
		return nil
	}
	dir := st.dir
	st.dir = ""
	return st.store.root.Trash(dir)
}

// Commit makes what was staged a layer on parent, "" for none, durably. Where that layer
// is there already, or another commit is quicker, that one is given.
func (s *Store) Commit(ctx context.Context, st *Staged, parent string) (Layer, error) {
	layers, err := s.CommitChain(ctx, []*Staged{st}, parent)
	if err != nil {
		return Layer{}, err
	}
	return layers[0], nil
}

// CommitChain makes layers of what was staged, each on the one before it, and the first on
// parent. It waits for the disk once for all of them.
func (s *Store) CommitChain(ctx context.Context, staged []*Staged, parent string) (layers []Layer, err error) {
	defer func() {
		for _, st := range staged {
			err = errors.Join(err, st.Discard()) // what became a layer is no more staged
		}
	}()
	if parent != "" {
		if _, err := s.Get(parent); err != nil {
			return nil, fmt.Errorf("parent of layer: %w", err)
		}
	}
	below := s.lowersOf(parent)
	fresh, known := 0, []string{parent}
	for _, st := range staged {
		l := Layer{
			ChainID: ChainID(parent, st.DiffID), Parent: parent, DiffID: st.DiffID, Size: st.Size, TarSize: st.TarSize,
			Created: time.Now().UTC(), Opaque: st.totals.RootOpaque,
		}
		parent = l.ChainID
		if have, err := s.Get(l.ChainID); err == nil {
			layers, below, known = append(layers, have), s.lowersOf(l.ChainID), append(known, l.ChainID)
			continue
		}
		if st.dir == "" {
			return nil, fmt.Errorf("layer %s: what was staged is gone", l.DiffID)
		}
		if err := st.settle(ctx, below); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.DiffID, err)
		}
		if err := store.WriteFile(st.dir+"/layer.json", l.encode(), 0o600, false); err != nil {
			return nil, err
		}
		if l.Opaque {
			below = nil
		}
		layers, below = append(layers, l), append([]string{st.dir + "/" + archive.FolderFiles}, below...)
		fresh++
	}
	// What a build left on its way is beneath, or is what was asked for.
	if err := s.Settle(ctx, known...); err != nil || fresh == 0 {
		return layers, err
	}
	if err := s.root.Sync(); err != nil {
		return nil, err
	}
	for i, st := range staged {
		if layers[i], err = s.adopt(st, layers[i], false); err != nil {
			return nil, err
		}
	}
	return layers, store.SyncDir(s.root.Path("layers"))
}

// adopt renames a staged folder into place, unless the layer is there. A soft one has no record yet.
func (s *Store) adopt(st *Staged, l Layer, soft bool) (Layer, error) {
	s.change.Lock()
	defer s.change.Unlock()
	if have, err := s.Get(l.ChainID); err == nil {
		return have, nil
	}
	if l.Parent != "" {
		if _, err := s.Get(l.Parent); err != nil {
			return Layer{}, fmt.Errorf("parent of layer, removed meanwhile: %w", err)
		}
	}
	if err := os.Rename(st.dir, s.dir(l.ChainID)); err != nil {
		return Layer{}, err
	}
	st.dir = ""
	s.mu.Lock()
	s.layers[l.ChainID] = l
	if soft {
		s.soft[l.ChainID] = true
	}
	s.mu.Unlock()
	return l, nil
}

// ChainID names a layer of diffID on top of parent, "" for none, as Docker does.
func ChainID(parent, diffID string) string {
	if parent == "" {
		return diffID
	}
	sum := sha256.Sum256([]byte(parent + " " + diffID))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Get gives a layer by its chain id; ErrNotFound.
func (s *Store) Get(chainID string) (Layer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l, ok := s.layers[chainID]
	if !ok {
		return Layer{}, fmt.Errorf("%w: %.80q", ErrNotFound, chainID)
	}
	return l, nil
}

// List gives all layers, in no order.
func (s *Store) List() []Layer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	layers := make([]Layer, 0, len(s.layers))
	for _, l := range s.layers {
		layers = append(layers, l)
	}
	return layers
}

// Pack writes the exact plain tar of a layer to w, of TarSize bytes, and verifies its
// digest. After an error w may have got a part of it.
func (s *Store) Pack(ctx context.Context, chainID string, w io.Writer) error {
	if _, err := s.Get(chainID); err != nil {
		return err
	}
	if err := archive.Pack(ctx, s.dir(chainID), w); err != nil {
		return fmt.Errorf("layer %s: %w", chainID, err)
	}
	return nil
}

// Entries calls f with each entry of a layer, in the order of its tar.
func (s *Store) Entries(chainID string, f func(*archive.Entry) error) error {
	if _, err := s.Get(chainID); err != nil {
		return err
	}
	_, err := archive.ReadEntries(s.dir(chainID)+"/"+archive.FileIndex, f)
	return err
}

// Remove takes a layer away, unless another stands on it. One that is not there is no
// error. It is gone when Remove returns; its files are deleted in the background.
func (s *Store) Remove(chainID string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if _, err := s.Get(chainID); err != nil {
		return nil
	}
	for _, l := range s.List() {
		if l.Parent == chainID {
			return fmt.Errorf("layer %s is beneath layer %s", chainID, l.ChainID)
		}
	}
	if err := s.root.Trash(s.dir(chainID)); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.layers, chainID)
	delete(s.soft, chainID)
	delete(s.inits, chainID)
	s.mu.Unlock()
	return nil
}

// dir is the folder of a layer, whose chain id is one of ours.
func (s *Store) dir(chainID string) string {
	return s.root.Path("layers", hexOf(chainID))
}

// hexOf gives the hex of a digest; noLayers for what is none, so that no path is ever
// made of anything else.
func hexOf(chainID string) string {
	name := strings.TrimPrefix(chainID, "sha256:")
	if _, ok := oci.FromHex(name); !ok {
		return noLayers
	}
	return name
}

// chain gives a layer and those beneath it, topmost first.
func (s *Store) chain(top string) []Layer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var chain []Layer
	for l, ok := s.layers[top]; ok; l, ok = s.layers[l.Parent] {
		chain = append(chain, l)
	}
	return chain
}

// lowersOf gives the folders of files that overlayfs stacks for top, topmost first.
func (s *Store) lowersOf(top string) []string {
	var dirs []string
	for _, l := range s.chain(top) {
		dirs = append(dirs, s.dir(l.ChainID)+"/"+archive.FolderFiles)
		if l.Opaque {
			break
		}
	}
	return slices.Clip(dirs)
}

// Data tells where a layer's files are, in the words of Docker's overlay2 driver.
func (s *Store) Data(top string) map[string]string {
	lowers := s.lowersOf(top)
	if len(lowers) == 0 {
		return map[string]string{}
	}
	data := map[string]string{"UpperDir": lowers[0], "MergedDir": s.dir(top) + "/merged", "WorkDir": s.dir(top) + "/work"}
	if len(lowers) > 1 {
		data["LowerDir"] = strings.Join(lowers[1:], ":")
	}
	return data
}
