package network

import (
	"slices"
	"strings"

	"lighter/api"
)

// find gives the network of a full id, a name or the start of an id, in this order. The
// lock is held.
func (ns *Networks) find(term string) (*network, error) {
	if n := ns.byID[term]; n != nil && !n.gone {
		return n, nil
	}
	if n := ns.byID[ns.names[term]]; n != nil && !n.gone {
		return n, nil
	}
	var found []*network
	for id, n := range ns.byID {
		if term != "" && !n.gone && strings.HasPrefix(id, term) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return nil, notFound(term)
	case 1:
		return found[0], nil
	}
	return nil, api.Errorf(api.Invalid, "network %s is ambiguous (%d matches found based on ID prefix)", term, len(found))
}

func notFound(term string) error {
	return api.Errorf(api.NotFound, "network %s not found", term)
}

// Ref is a network by both of its names.
type Ref struct {
	ID, Name, Driver string
}

// Find looks a network up by id, name or the start of an id.
func (ns *Networks) Find(term string) (Ref, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n, err := ns.find(term)
	if err != nil {
		return Ref{}, err
	}
	return Ref{n.ID, n.Name, n.Driver}, nil
}

// all lists the networks, the newest last. The lock is held.
func (ns *Networks) all() []*network {
	list := make([]*network, 0, len(ns.byID))
	for _, n := range ns.byID {
		if !n.gone {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *network) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}
