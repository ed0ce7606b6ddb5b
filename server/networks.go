package server

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"lighter/api"
)

// networks answers for networks: those that every engine has.
type networks struct {
	born time.Time // when the engine's data root was made
}

// network is one network on the wire.
type network struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       ipam
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom struct{ Network string }
	ConfigOnly bool
	Containers map[string]struct{}
	Options    map[string]string
	Labels     map[string]string
}

type ipam struct {
	Driver  string
	Options map[string]string
	Config  []struct{}
}

func (n networks) all() []network {
	var list []network
	for _, nw := range [][2]string{{"host", "host"}, {"none", "null"}} {
		id := sha256.Sum256([]byte("lighter network " + nw[0]))
		list = append(list, network{
			Name: nw[0], ID: hex.EncodeToString(id[:]), Created: n.born, Scope: "local", Driver: nw[1], EnableIPv4: true,
			IPAM:       ipam{Driver: "default"},
			Containers: map[string]struct{}{}, Options: map[string]string{}, Labels: map[string]string{},
		})
	}
	return list
}

func (n networks) list(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err == nil {
		err = f.Check("dangling", "driver", "id", "label", "name", "scope", "type")
	}
	if err != nil {
		return err
	}
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return err
	}
	for _, t := range f["type"] {
		if t != "builtin" && t != "custom" {
			return api.Errorf(api.Invalid, "invalid filter: 'type'='%s'", t)
		}
	}
	hidden := dangling || !f.Exact("type", "builtin") || !f.Exact("scope", "local")
	list := []network{}
	for _, nw := range n.all() {
		if !hidden && f.Exact("driver", nw.Driver) && f.Labels("label", nw.Labels) &&
			anyOf(f["name"], func(v string) bool { return strings.Contains(nw.Name, v) }) &&
			anyOf(f["id"], func(v string) bool { return strings.HasPrefix(nw.ID, v) }) {
			list = append(list, nw)
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

// anyOf reports whether a value passes, or there is none.
func anyOf(values []string, pass func(string) bool) bool {
	return len(values) == 0 || slices.ContainsFunc(values, pass)
}

func (n networks) find(term string) (network, error) {
	all := n.all()
	for _, is := range []func(network) bool{
		func(nw network) bool { return nw.ID == term || nw.Name == term },
		func(nw network) bool { return strings.HasPrefix(nw.ID, term) },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i], nil
		}
	}
	return network{}, api.Errorf(api.NotFound, "network %s not found", term)
}

func (n networks) inspect(w http.ResponseWriter, r *request) error {
	nw, err := n.find(r.name)
	return ok(w, nw, err)
}

func (n networks) remove(_ http.ResponseWriter, r *request) error {
	nw, err := n.find(r.name)
	if err != nil {
		return err
	}
	return api.Errorf(api.Forbidden, "%s is a pre-defined network and cannot be removed", nw.Name)
}
