package network

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"lighter/api"
)

// List tells of the networks that pass the filters; with members, of the containers on
// them, too.
func (ns *Networks) List(f api.Filters, members bool) ([]api.Network, error) {
	if err := f.Check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	dangling, err := danglingFilter(f["dangling"])
	if err != nil {
		return nil, err
	}
	for _, t := range f["type"] {
		if t != "builtin" && t != "custom" {
			return nil, api.Errorf(api.Internal, "invalid filter: 'type'='%s'", t)
		}
	}
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	list := []api.Network{}
	for _, n := range ns.all() {
		if !n.passes(f, dangling) {
			continue
		}
		w := n.wire()
		if members {
			w.Containers = n.members()
		}
		list = append(list, w)
	}
	return list, nil
}

func danglingFilter(values []string) (*bool, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 {
		return nil, api.Errorf(api.Invalid, `got more than one value for filter key "dangling"`)
	}
	on := values[0] == "1" || values[0] == "true"
	if !on && values[0] != "0" && values[0] != "false" {
		return nil, api.Errorf(api.Invalid, `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`)
	}
	return &on, nil
}

func (n *network) passes(f api.Filters, dangling *bool) bool {
	kind := "custom"
	if predefined(n.Name) {
		kind = "builtin"
	}
	some := func(key string, pass func(string) bool) bool {
		return len(f[key]) == 0 || slices.ContainsFunc(f[key], pass)
	}
	return f.Exact("driver", n.Driver) && f.Exact("scope", n.Scope) && f.Exact("type", kind) && f.Labels("label", n.Labels) &&
		some("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
		some("id", func(v string) bool { return strings.Contains(n.ID, v) }) &&
		(dangling == nil || *dangling == (kind == "custom" && len(n.ends) == 0))
}

// members is the containers on a network; the lock is held.
func (n *network) members() map[string]api.NetworkMember {
	list := map[string]api.NetworkMember{}
	for id, e := range n.ends {
		m := api.NetworkMember{Name: e.Container, EndpointID: e.ID, MacAddress: e.MAC}
		if e.Addr4.IsValid() {
			m.IPv4Address = e.Addr4.String()
		}
		if e.Addr6.IsValid() {
			m.IPv6Address = e.Addr6.String()
		}
		list[id] = m
	}
	return list
}

// Inspect tells all of a network. A scope that is not its own finds nothing.
func (ns *Networks) Inspect(term, scope string) (api.Network, error) {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	n, err := ns.find(term)
	if err != nil {
		return api.Network{}, err
	}
	if scope != "" && scope != n.Scope {
		return api.Network{}, notFound(term)
	}
	w := n.wire()
	w.Containers = n.members()
	return w, nil
}

// Remove removes a network that no running container is on.
func (ns *Networks) Remove(_ context.Context, term string) error {
	ns.mu.Lock()
	n, err := ns.find(term)
	if err == nil {
		err = n.removable(ns)
	}
	if err == nil {
		n.gone = true
	}
	ns.mu.Unlock()
	if err != nil {
		return err
	}
	return n.erase(ns)
}

// removable says why a network must stay. The lock is held.
func (n *network) removable(ns *Networks) error {
	if predefined(n.Name) {
		return api.Errorf(api.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	if n.ConfigOnly {
		for _, o := range ns.all() {
			if o.ConfigFrom == n.Name {
				return api.Errorf(api.Forbidden, "error while removing network: configuration network %q is in use", n.Name)
			}
		}
	}
	if len(n.ends) == 0 {
		return nil
	}
	var users []string
	for _, e := range n.ends {
		users = append(users, `name:"`+e.Container+`" id:"`+short(e.ID)+`"`)
	}
	slices.Sort(users)
	return api.Errorf(api.Forbidden, "error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(users, ", "))
}

// erase takes away a network that is marked as gone. The record goes first: what a crash
// leaves is a link without a record, which the next start takes away.
func (n *network) erase(ns *Networks) error {
	n.bring.Lock()
	defer n.bring.Unlock()
	if err := ns.forget(n.record); err != nil {
		ns.mu.Lock()
		n.gone = false
		ns.mu.Unlock()
		return err
	}
	ns.mu.Lock()
	up := n.up
	n.up = false
	delete(ns.byID, n.ID)
	if ns.names[n.Name] == n.ID {
		delete(ns.names, n.Name)
	}
	if up {
		ns.wanted++
	}
	used := slices.ContainsFunc(ns.all(), n.sharesLink)
	ns.mu.Unlock()
	err := ns.filter()
	if !n.ConfigOnly && n.Made && !used {
		err = errors.Join(err, ns.Kernel.Drop(n.link(false)))
	}
	if err == nil {
		ns.unclaim(n.ID)
	}
	if !n.ConfigOnly {
		ns.publish(n.record, "destroy")
	}
	if err != nil {
		return api.Errorf(api.Internal, "error while removing network: %w", err)
	}
	return nil
}

// Prune removes the networks that somebody made and no running container is on.
func (ns *Networks) Prune(ctx context.Context, f api.Filters) (api.PrunedNetworks, error) {
	var out api.PrunedNetworks
	if err := f.Check("label", "label!", "until"); err != nil {
		return out, err
	}
	until, err := untilTime(f["until"])
	if err != nil {
		return out, err
	}
	ns.mu.RLock()
	list := slices.DeleteFunc(ns.all(), func(n *network) bool {
		return predefined(n.Name) || n.ConfigOnly || len(n.ends) > 0 || !until.IsZero() && n.Created.After(until) || !f.Labels("label", n.Labels) ||
			slices.ContainsFunc(f["label!"], func(l string) bool { return api.Filters{"label": {l}}.Labels("label", n.Labels) })
	})
	ns.mu.RUnlock()
	for _, n := range list {
		if ctx.Err() != nil {
			break
		}
		if err := ns.Remove(ctx, n.ID); err != nil {
			complain("prune a network", n.Name, err)
			continue
		}
		out.NetworksDeleted = append(out.NetworksDeleted, n.Name)
	}
	ns.Events.Publish("network", "prune", "", map[string]string{"reclaimed": "0"})
	return out, nil
}

// untilTime reads the one until of a prune: a time, seconds since 1970, or how long ago.
func untilTime(values []string) (time.Time, error) {
	if len(values) == 0 {
		return time.Time{}, nil
	}
	if len(values) > 1 {
		return time.Time{}, api.Errorf(api.Invalid, "more than one until filter specified")
	}
	v := values[0]
	if d, err := time.ParseDuration(v); err == nil {
		return time.Now().Add(-d), nil
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return time.Unix(0, int64(n*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15Z07:00", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, api.Errorf(api.Invalid, "failed to parse value as time or duration: %q", v)
}
