package server

import (
	"net/http"
	"slices"

	"lighter/api"
	"lighter/engine/container"
	"lighter/policy"
)

// grant is what a policy gives the client of one request. A nil one gives everything: there is no
// policy. It judges what handlers have decoded, and nothing else; a name becomes the id that it stood
// for, so that what was judged is what is done.
type grant struct {
	s   *Server
	who *policy.Client
}

// judge decides on a request as far as its route and {name} tell.
func (w *watch) judge(s *Server, to route, r *request) error {
	is := to.rule()
	if is.kind == free || r.Method == http.MethodOptions {
		return nil
	}
	var err error
	if r.grant, err = w.granted(s, to, is, r.who); err == nil && r.grant != nil {
		err = r.grant.thing(r, is)
	}
	return err
}

// granted gives what a client has by the policy of this moment, and refuses routes.
func (w *watch) granted(s *Server, to route, is rule, who policy.Who) (*grant, error) {
	p := w.policy.Load()
	if p == nil {
		return nil, nil
	}
	c := p.Of(who)
	if c == nil {
		return nil, api.Errorf(api.Forbidden, "authorization denied by the policy: no client in it is %s", who)
	}
	g := &grant{s, c}
	if !c.May(to.String(), is.kind) {
		return g, c.Denied("%s: it has neither `allow %s` nor that route", to, is.kind)
	}
	return g, nil
}

// thing finds what {name} is and refuses what is another's. A client with labels sees nothing but its
// own things, so the rest is not there.
func (g *grant) thing(r *request, is rule) (err error) {
	switch is.about {
	case aContainer:
		r.name, err = g.container(r.name, is.enters, is.named && r.Method == http.MethodPost)
	case anExec:
		k, asked, e := container.KnowExec(g.s.config.Containers, r.name)
		if e != nil {
			return e
		}
		if !g.who.Owns(k.Labels) {
			return api.Errorf(api.NotFound, "No such exec instance: %s", r.name)
		}
		if is.enters {
			err = g.who.Grant(append(held(&k), policy.OfExec(&asked)...))
		}
	case aNetwork:
		nw, e := g.s.config.Networks.Inspect(r.name, "")
		if e == nil && !g.who.Owns(nw.Labels) {
			return api.Errorf(api.NotFound, "network %s not found", r.name)
		}
		r.name, err = nw.ID, e
	case aVolume:
		v, e := g.s.config.Volumes.Inspect(r.name)
		if e == nil && !g.who.Owns(v.Labels) {
			return api.Errorf(api.NotFound, "get %s: no such volume", r.name)
		}
		// That there is none is told by who handles it: a removal may not mind.
	}
	return err
}

// held is what a container has of the host.
func held(k *container.Known) []policy.Need {
	list := policy.OfContainer(k.Host, k.Mounts)
	if slices.Contains(k.Networks, "host") {
		list = append(list, policy.Need{Word: "host-network"})
	}
	return list
}

// container gives the id of a container that is the client's. Who enters one gets all that it has of
// the host; one that starts comes to the networks that have its networks' names now.
func (g *grant) container(ref string, enters, starts bool) (id string, err error) {
	if g == nil {
		return ref, nil
	}
	k, err := container.Know(g.s.config.Containers, ref)
	if err != nil {
		return "", err
	}
	if !g.who.Owns(k.Labels) {
		return "", api.Errorf(api.NotFound, "No such container: %s", ref)
	}
	if enters {
		err = g.who.Grant(held(&k))
	}
	if err == nil && starts && !k.Begun {
		err = g.networks(k.Networks)
	}
	return k.ID, err
}

// networks judges the networks that a container is to be on. One that is not there fails by itself.
func (g *grant) networks(names []string) error {
	for _, name := range names {
		nw, err := g.s.config.Networks.Inspect(name, "")
		switch {
		case err != nil:
			continue
		case nw.Driver == "host":
			err = g.who.Grant([]policy.Need{{Word: "host-network"}})
		case nw.Name != "bridge" && nw.Name != "none" && !g.who.Owns(nw.Labels):
			err = api.Errorf(api.NotFound, "network %s not found", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// create judges a container that is to be made, and makes it the client's.
func (g *grant) create(r *request, body *api.CreateContainer) error {
	if g == nil {
		return nil
	}
	h := body.HostConfig
	mounts, err := container.MountsOf(h.Binds, h.Mounts)
	if err != nil {
		return err
	}
	if err := g.who.Grant(append(policy.OfContainer(h, mounts), policy.OfCreate(h)...)); err != nil {
		return err
	}
	joins, err := container.JoinsOf(h)
	if err != nil {
		return err
	}
	ids := map[string]string{}
	for _, ref := range joins.Refs {
		if ids[ref], err = g.container(ref, true, false); err != nil {
			return notTheImage(err)
		}
	}
	joins.Replace(ids)
	names := []string{h.NetworkMode}
	for name := range body.NetworkingConfig.EndpointsConfig {
		names = append(names, name)
	}
	if err := g.networks(names); err != nil {
		return notTheImage(err)
	}
	if err := g.volumes(r, mounts, h.Mounts); err != nil {
		return err
	}
	return g.who.Mark(&body.Labels)
}

// notTheImage tells of something else that is not there: clients take 404 to a creation for a missing image,
// and pull it.
func notTheImage(err error) error {
	if api.Is(err, api.NotFound) {
		return api.Errorf(api.Invalid, "%w", err)
	}
	return err
}

// update judges a change of a container.
func (g *grant) update(r *request, body *api.UpdateContainer) error {
	if g == nil {
		return nil
	}
	mounts, err := container.MountsOf(body.Binds, body.Mounts)
	if err == nil {
		err = g.who.Grant(policy.OfUpdate(body, mounts))
	}
	if err == nil {
		err = g.volumes(r, mounts, body.Mounts)
	}
	return err
}

// volumes judges the volumes that are mounted by name. One that is not there yet is made, so that it
// is the client's.
func (g *grant) volumes(r *request, mounts []api.MountPoint, specs []api.Mount) error {
	for _, m := range specs {
		if o := m.VolumeOptions; o != nil && o.DriverConfig != nil {
			if err := g.who.Grant(policy.OfVolume(o.DriverConfig.Options)); err != nil {
				return err
			}
		}
	}
	for _, m := range mounts {
		if m.Type != "volume" || m.Name == "" {
			continue
		}
		v, err := g.s.config.Volumes.Inspect(m.Name)
		if api.Is(err, api.NotFound) && g.who.Bound() {
			want := api.CreateVolume{Name: m.Name}
			if err := g.who.Mark(&want.Labels); err != nil {
				return err
			}
			v, err = g.s.config.Volumes.Create(r.Context(), want)
		}
		switch {
		case api.Is(err, api.NotFound):
			continue // the container makes it
		case err != nil:
			return err
		case !g.who.Owns(v.Labels):
			return g.who.Denied("use the volume %s: it is another's", m.Name)
		}
		if err := g.who.Grant(policy.OfVolume(v.Options)); err != nil {
			return err
		}
	}
	return nil
}

// volume judges a volume that is to be made. One that is there already is given back, if it is the client's.
func (g *grant) volume(body *api.CreateVolume) error {
	if g == nil {
		return nil
	}
	if err := g.who.Grant(policy.OfVolume(body.DriverOpts)); err != nil {
		return err
	}
	if v, err := g.s.config.Volumes.Inspect(body.Name); body.Name != "" && err == nil && !g.who.Owns(v.Labels) {
		return g.who.Denied("use the volume %s: it is another's", body.Name)
	}
	return g.who.Mark(&body.Labels)
}

// network judges a network that is to be made.
func (g *grant) network(body *api.CreateNetwork) error {
	if g == nil {
		return nil
	}
	if err := g.who.Grant(policy.OfNetwork(body)); err != nil {
		return err
	}
	return g.who.Mark(&body.Labels)
}

// needs judges anything else.
func (g *grant) needs(list []policy.Need) error {
	if g == nil {
		return nil
	}
	return g.who.Grant(list)
}

// build judges a build, whatever way it was asked for.
func (g *grant) build(req *api.BuildRequest) error {
	if g == nil {
		return nil
	}
	if req.Network != "" {
		if err := g.networks([]string{req.Network}); err != nil {
			return err
		}
	}
	return g.who.Grant(policy.OfBuild(req))
}

// either gives the id of a container that is the client's, or of an image.
func (g *grant) either(ref string) (string, error) {
	if g == nil {
		return ref, nil
	}
	id, err := g.container(ref, true, false)
	if !api.Is(err, api.NotFound) {
		return id, err
	}
	img, none := g.s.config.Images.Resolve(ref)
	if none != nil {
		return "", err
	}
	return string(img.ID), nil
}

// own adds to filters that things must be the client's.
func (g *grant) own(f api.Filters) api.Filters {
	if g != nil {
		for _, l := range g.who.Filters() {
			f.Add("label", l)
		}
	}
	return f
}

// whole refuses who may not do everything.
func (g *grant) whole(what string) error {
	if g == nil || g.who.Whole() {
		return nil
	}
	return g.who.Denied("%s: that needs `allow everything`, `with everything` and no label", what)
}

// owns tells that a thing with such labels is the client's.
func (g *grant) owns(labels map[string]string) bool { return g == nil || g.who.Owns(labels) }

// bound tells that the client sees its own things alone.
func (g *grant) bound() bool { return g != nil && g.who.Bound() }
