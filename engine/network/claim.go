package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"lighter/netspec"
	"lighter/store"
)

// lockName is the file of a folder of claims that is locked by who chooses subnets.
const lockName = "lock"

// claim is a file in the folder that all engines share: the subnets of one network, and the
// record that they are of. A claim whose record is gone stands for nothing.
type claim struct {
	Record  string
	Subnets []netip.Prefix
	Link    netspec.Link // what is to go when the record has gone and the link has not
	Table   string       // the engine's in the packet filter, which goes when all its records have
}

// choosing runs f while no other engine of the machine chooses subnets; f is told those that
// the host and other engines have.
func (s *shelf) choosing(f func(taken []netip.Prefix) error) error {
	unlock, err := store.Wait(filepath.Join(s.common, lockName))
	for errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) { // another engine has swept the folder, which was empty
		if err = os.MkdirAll(s.common, 0o710); err == nil {
			unlock, err = store.Wait(filepath.Join(s.common, lockName))
		}
	}
	if err != nil {
		return fmt.Errorf("choose a subnet: %w", err)
	}
	defer unlock()
	taken, err := s.kernel.Prefixes()
	if err != nil {
		return fmt.Errorf("choose a subnet: %w", err)
	}
	others, err := s.claims()
	if err != nil {
		return fmt.Errorf("choose a subnet: %w", err)
	}
	return f(append(taken, others...))
}

func (s *shelf) claims() ([]netip.Prefix, error) {
	entries, err := os.ReadDir(s.common)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		if c, dead := readClaim(filepath.Join(s.common, e.Name())); !dead {
			list = append(list, c.Subnets...)
		}
	}
	return list, nil
}

// readClaim reads a claim. It is dead when it cannot be read, or its engine's records have
// gone; while they are there and its own is not, it has no subnets: its engine sweeps it.
func readClaim(path string) (c claim, dead bool) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return claim{}, true
	}
	if _, err := os.Stat(c.Record); err != nil {
		c.Subnets = nil
		_, err = os.Stat(filepath.Dir(c.Record))
		return c, err != nil
	}
	return c, false
}

// SweepClaims takes away those folders of claims in dir, a folder of them, whose engines'
// records have all gone, and with them the network namespace that the folder is named by. While
// that is in use New sweeps the folder, in an engine that is in there: it takes away what such
// engines left in the kernel as well, and finds that by the claims alone.
func SweepClaims(dir string, inUse func(space string) bool) error {
	folders, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep claims of subnets: %w", err)
	}
	var errs []error
	for _, f := range folders {
		if !f.IsDir() || inUse(f.Name()) {
			continue
		}
		if err := sweepFolder(filepath.Join(dir, f.Name())); err != nil {
			errs = append(errs, fmt.Errorf("sweep claims of subnets: %w", err))
		}
	}
	return errors.Join(errs...)
}

// sweepFolder takes away a folder in which no claim is alive. Who opens the lock while it goes
// finds that it is not the one in the folder any more, or has made another, which keeps the
// folder.
func sweepFolder(dir string) error {
	lock := filepath.Join(dir, lockName)
	unlock, err := store.Wait(lock) // nobody chooses meanwhile
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another engine has swept it
	}
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if _, dead := readClaim(filepath.Join(dir, e.Name())); !dead {
			return nil
		}
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(lock); err != nil {
		return err
	}
	if err := os.Remove(dir); !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep takes away what a removal that was cut off has left: the link of a network whose
// record has gone.
func sweep(ns *Networks) {
	entries, err := os.ReadDir(ns.common)
	complain("look for half-removed networks", ns.common, err)
	if ns.Graves != nil {
		bury(ns, entries)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || ns.byID[id] != nil {
			continue
		}
		var c claim
		if err := store.ReadRecord(filepath.Join(ns.common, e.Name()), &c); err != nil || c.Record != ns.path(id) {
			continue // another engine's
		}
		if c.Link.Made {
			complain("take away the link of a removed network", c.Link.Name, ns.Kernel.Drop(c.Link))
		}
		ns.unclaim(id)
	}
}

// bury takes away what engines left whose data roots are gone, and which so will never come
// again: bridges, tables, claims. Of one whose containers still run on a bridge all stays.
func bury(ns *Networks, entries []os.DirEntry) {
	type grave struct {
		claims []string
		links  []netspec.Link
		table  string
	}
	graves := map[string]*grave{} // by the folder of the engine's records
	for _, e := range entries {
		path := filepath.Join(ns.common, e.Name())
		if !strings.HasSuffix(path, ".json") {
			continue
		}
		c, dead := readClaim(path)
		if !dead {
			continue
		}
		engine := filepath.Dir(c.Record)
		g := graves[engine]
		if g == nil {
			g = &grave{}
			graves[engine] = g
		}
		g.claims = append(g.claims, path)
		if c.Link.Made {
			g.links = append(g.links, c.Link)
		}
		if c.Table != ns.Table { // the next engine of the same exec root has the same
			g.table = c.Table
		}
	}
	for engine, g := range graves {
		gone, err := ns.Graves.Bury(g.links, g.table)
		complain("take away what an engine left that is gone", engine, err)
		if !gone {
			continue
		}
		for _, path := range g.claims {
			complain("take away the claim of an engine that is gone", engine, removeFile(path))
		}
	}
}

// claimed notes for other engines which subnets a network has. Its record stands already.
func (s *shelf) claimed(r *record) error {
	opts, err := parseOptions(r)
	if err != nil {
		return err
	}
	c := claim{Record: s.path(r.ID), Link: (&network{record: r, opts: opts}).link(false), Table: s.table}
	for _, p := range r.Pools {
		c.Subnets = append(c.Subnets, p.Subnet)
	}
	if len(c.Subnets) == 0 {
		return nil
	}
	if err := store.WriteRecord(filepath.Join(s.common, r.ID+".json"), c, false); err != nil {
		return fmt.Errorf("claim the subnets of network %s: %w", r.Name, err)
	}
	return nil
}

func (s *shelf) unclaim(id string) {
	complain("give back a claim", id, removeFile(filepath.Join(s.common, id+".json")))
}
