package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lighter/api"
)

// Create makes a container. The name is reserved before anything else is made, and
// the record is written last: what a crash leaves in between is swept by the next start.
func (cs *Containers) Create(ctx context.Context, name string, req api.CreateContainer, platform *api.Platform) (api.Created, error) {
	none := api.Created{Warnings: []string{}}
	if req.ContainerConfig == nil {
		return none, invalid("config cannot be empty in order to create a container")
	}
	d := newDraft(cs, &req, platform)
	warnings, err := cs.Host.validate(d.config, d.host)
	if err != nil {
		return none, err
	}
	image := Image{Config: &api.ContainerConfig{}, Platform: api.Platform{OS: "linux", Architecture: cs.Host.Architecture}}
	if d.config.Image != "" {
		if image, err = cs.Images.Resolve(d.config.Image, platform); err != nil {
			return none, err
		}
		warnings = append(warnings, cs.Host.foreign(image.Platform, platform)...)
	}
	if err := d.checkNetworks(); err != nil {
		return none, err
	}
	if err := d.settle(); err != nil {
		return none, err
	}
	if err := merge(d.config, image.Config); err != nil {
		return none, err
	}
	if err := cs.Log.mergeLog(&d.host.LogConfig); err != nil {
		return none, err
	}
	c, err := d.build(ctx, name, image)
	if err != nil {
		return none, err
	}
	cs.publish(c.now(), "create")
	if warnings == nil {
		warnings = []string{}
	}
	return api.Created{ID: c.id, Warnings: warnings}, nil
}

// draft is a container on its way to a record.
type draft struct {
	cs       *Containers
	asked    *asked
	config   *api.ContainerConfig
	host     *api.HostConfig
	networks map[string]*api.EndpointSettings
}

// newDraft keeps what was asked for, and works on copies.
func newDraft(cs *Containers, req *api.CreateContainer, platform *api.Platform) *draft {
	d := &draft{cs: cs, asked: &asked{Config: req.ContainerConfig, Host: req.HostConfig, Platform: platform}}
	config := *req.ContainerConfig
	d.config = &config
	host := api.HostConfig{}
	if req.HostConfig != nil {
		host = *req.HostConfig
	}
	d.host = &host
	if req.NetworkingConfig != nil {
		d.asked.Networks = req.NetworkingConfig.EndpointsConfig
		d.networks = maps.Clone(req.NetworkingConfig.EndpointsConfig)
	}
	if d.networks == nil {
		d.networks = map[string]*api.EndpointSettings{}
	}
	if host.NetworkMode == "" || host.NetworkMode == "default" {
		d.host.NetworkMode = "bridge"
		if e, ok := d.networks["default"]; ok {
			d.networks["bridge"] = e
			delete(d.networks, "default")
		}
	}
	if d.host.RestartPolicy.Name == "" {
		d.host.RestartPolicy.Name = "no"
	}
	return d
}

// foreign warns of an image for another machine that nobody asked for by platform.
func (host *Host) foreign(p api.Platform, asked *api.Platform) []string {
	if asked != nil || (p.OS == "" || p.OS == "linux") && (p.Architecture == "" || p.Architecture == host.Architecture) {
		return nil
	}
	here := api.Platform{OS: "linux", Architecture: host.Architecture, Variant: host.Variant}
	return []string{fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested", platformText(p), platformText(here))}
}

func platformText(p api.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// settle fills in the defaults of the host config.
func (d *draft) settle() error {
	h, cs := d.host, d.cs
	cs.Defaults.fill(h)
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.ShmSize == 0 {
		h.ShmSize = 64 << 20
	}
	if h.IpcMode == "" {
		h.IpcMode = "private"
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = "host"
		if cs.Host.CgroupV2 {
			h.CgroupnsMode = "private"
		}
	}
	if h.OomKillDisable == nil && cs.Host.Kernel.OomKillDisable {
		h.OomKillDisable = new(bool)
	}
	if h.Runtime == "" {
		h.Runtime = cmp.Or(cs.Host.Runtime, "runc")
	}
	for _, mode := range []*string{&h.PidMode, &h.IpcMode, &h.NetworkMode} {
		ref, joins := shared(*mode)
		if !joins || ref == "" {
			continue
		}
		c, err := cs.index.find(ref)
		if err == nil {
			*mode = "container:" + c.id // the name may change
		} else if mode != &h.NetworkMode { // whose container may come later
			return invalid("%w", err)
		}
	}
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = slices.Clone(maskedPaths())
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = slices.Clone(readonlyPaths)
		}
	}
	return nil
}

// build makes what a container is on disk, and its place in the index.
func (d *draft) build(ctx context.Context, name string, image Image) (_ *container, err error) {
	cs := d.cs
	id := newID()
	if name == "" {
		if name, err = cs.index.invent(id); err != nil {
			return nil, err
		}
	} else if err = cs.index.claim(name, id); err != nil {
		return nil, err
	} else if name[0] == '/' {
		name = name[1:]
	}
	defer func() {
		if err != nil {
			cs.index.release(name, id)
		}
	}()
	r := &record{
		Format: recordFormat, ID: id, Name: name, Created: time.Now().UTC(), Image: image.ID, Top: image.Top,
		Platform: image.Platform, Asked: d.asked, Config: d.config, Host: d.host, Networks: d.networks,
	}
	if d.config.Hostname == "" {
		d.config.Hostname = short(id)
		if d.host.NetworkMode == "host" {
			d.config.Hostname = cs.Host.Name
		}
	}
	if r.Links, err = d.links(); err != nil {
		return nil, err
	}
	if _, err = parseSecurity(d.host); err != nil {
		return nil, err
	}
	mounts, err := d.resolveMounts()
	if err != nil {
		return nil, err
	}
	if err = unbuilt(d.asked.Config, d.host); err != nil {
		return nil, err
	}
	c := newContainer(cs, r, history{Phase: created.String()}, created)
	defer cs.Images.Hold(image.Top)() // until it is listed
	for _, m := range mounts {
		if m.Top != "" {
			defer cs.Images.Hold(m.Top)()
		}
	}
	if err = c.lay(ctx, mounts); err != nil {
		return nil, errors.Join(err, cs.dropVolumes(r, true), cs.clear(c.id))
	}
	cs.index.add(c)
	return c, nil
}

func newContainer(cs *Containers, r *record, h history, p phase) *container {
	c := &container{cs: cs, id: r.ID, dir: filepath.Join(cs.Dir, r.ID)}
	c.execs.init()
	c.retries.c, c.monitor.c, c.signals.c = c, c, c
	c.snap.Store(&snapshot{record: r, history: h, phase: p, superseded: make(chan struct{})})
	return c
}

// lay makes the folder with the writable layer, and the working folder in it, the volumes,
// then the record.
func (c *container) lay(ctx context.Context, mounts []mount) error {
	r := c.now().record
	if err := c.cs.Layers.Create(c.id, r.Top, r.Host.AutoRemove); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	if err := c.furnish(ctx, r, mounts); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return api.Errorf(api.Canceled, "create container: %w", err)
	}
	return c.saveRecord(r)
}

// furnish makes the working folder, and the volumes, which are filled from the image.
func (c *container) furnish(ctx context.Context, r *record, mounts []mount) error {
	var opened *os.File
	defer func() {
		if opened != nil {
			opened.Close()
		}
	}()
	root := func() (_ *os.File, err error) { // most volumes have something in them, and need none
		if opened == nil {
			if opened, err = c.cs.Layers.MountBriefly(c.id); err != nil {
				err = fmt.Errorf("create container: %w", err)
			}
		}
		return opened, err
	}
	if wd := r.Config.WorkingDir; wd != "" && wd != "/" {
		at, err := root()
		if err == nil {
			err = c.cs.makeWorkingDir(at, wd)
		}
		if err != nil {
			return err
		}
	}
	return mounting{c}.makeAll(ctx, r, root, mounts)
}

func (d *Deps) makeWorkingDir(root *os.File, wd string) error {
	err := d.Rootfs.MkdirAll(root, wd)
	if errors.Is(err, ErrNotDir) {
		return api.Errorf(api.Internal, "Cannot mkdir: %s is not a directory", wd)
	}
	if err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	return nil
}

// clear takes away what a container is on disk. What is already gone is no error.
func (d *Deps) clear(id string) error {
	err := d.Trash(filepath.Join(d.Dir, id))
	if err == nil {
		d.Layers.Forget(id)
	}
	return err
}
