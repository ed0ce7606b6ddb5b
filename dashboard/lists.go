package dashboard

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/client"
)

// member is a container on a network, or of a volume.
type member struct{ ID, Name, Address string }

// networks lists the networks and who is on them.
func (s *Site) networks(c *call) error {
	list, err := s.engine.Networks().List(c.ctx(), nil)
	if err != nil {
		return err
	}
	type row struct {
		api.Network
		Subnets []string
		Members []member
	}
	var rows []row
	for _, n := range list {
		// The list does not tell who is on them.
		raw, err := s.engine.Networks().Inspect(c.ctx(), n.ID, false)
		if api.Is(err, api.NotFound) {
			continue // removed meanwhile
		}
		if err == nil {
			err = json.Unmarshal(raw, &n)
		}
		if err != nil {
			return err
		}
		r := row{Network: n}
		for _, p := range n.IPAM.Config {
			r.Subnets = append(r.Subnets, p.Subnet)
		}
		for id, m := range n.Containers {
			address, _, _ := strings.Cut(m.IPv4Address, "/")
			r.Members = append(r.Members, member{id, cmp.Or(m.Name, shortID(id)), address})
		}
		slices.SortFunc(r.Members, func(a, b member) int { return cmp.Compare(a.Name, b.Name) })
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Name, b.Name) })
	return c.show("networks", view{Title: "Networks", Nav: "networks", Data: rows})
}

// volumes lists the volumes, how large they are and who has them.
func (s *Site) volumes(c *call) error {
	du, err := s.engine.System().DiskUsage(c.ctx())
	if err != nil {
		return err
	}
	list, err := s.engine.Containers().List(c.ctx(), client.ListOptions{All: true})
	if err != nil {
		return err
	}
	users := map[string][]member{}
	for _, ctr := range list {
		for _, m := range ctr.Mounts {
			if m.Type == "volume" {
				users[m.Name] = append(users[m.Name], member{ctr.ID, nameOf(ctr.Names), m.Destination})
			}
		}
	}
	type row struct {
		*api.Volume
		Made    time.Time
		Size    int64 // -1 when not known
		Members []member
	}
	type data struct {
		List    []row
		Largest int64
	}
	d := data{}
	for _, v := range du.Volumes {
		r := row{Volume: v, Made: moment(v.CreatedAt), Size: -1, Members: users[v.Name]}
		if v.UsageData != nil {
			r.Size = v.UsageData.Size
		}
		d.Largest = max(d.Largest, r.Size)
		d.List = append(d.List, r)
	}
	slices.SortFunc(d.List, func(a, b row) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Name, b.Name)) })
	return c.show("volumes", view{Title: "Volumes", Nav: "volumes", Data: d})
}

// hoard is a kind of things on the disk.
type hoard struct {
	Name, About   string
	Count, Active int
	Size, Free    int64 // Free is what could be given back
	Command       string
	Parts         []part
}

type part struct {
	Name, Link, Note string
	Size             int64
}

const partsShown = 8

func (k *hoard) add(p part, active bool, free int64) {
	k.Count++
	k.Size += p.Size
	if active {
		k.Active++
	} else {
		k.Free += free
	}
	if p.Size > 0 {
		k.Parts = append(k.Parts, p)
	}
}

// disk tells what takes the room on the disk, and how to get it back.
func (s *Site) disk(c *call) error {
	du, err := s.engine.System().DiskUsage(c.ctx())
	if err != nil {
		return err
	}
	images := hoard{Name: "Images", About: "layers are counted once, however many images share them", Command: "lighter image prune -a"}
	for _, i := range du.Images {
		name := shortID(i.ID)
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		images.add(part{Name: name, Link: "/images/" + bare(i.ID), Size: i.Size}, i.Containers > 0, i.Size-max(i.SharedSize, 0))
	}
	images.Size = du.LayersSize
	containers := hoard{Name: "Containers", About: "what they wrote, besides their volumes", Command: "lighter container prune"}
	for _, b := range du.Containers {
		containers.add(part{Name: nameOf(b.Names), Link: "/containers/" + b.ID, Size: b.SizeRw}, b.State == "running" || b.State == "paused" || b.State == "restarting", b.SizeRw)
	}
	volumes := hoard{Name: "Volumes", About: "folders that outlive containers", Command: "lighter volume prune"}
	for _, v := range du.Volumes {
		if v.UsageData != nil {
			volumes.add(part{Name: v.Name, Link: "/volumes", Size: v.UsageData.Size}, v.UsageData.RefCount > 0, v.UsageData.Size)
		}
	}
	cache := hoard{Name: "Build cache", About: "steps that the next build need not do again", Command: "lighter builder prune"}
	for _, b := range du.BuildCache {
		cache.add(part{Name: b.Description, Note: b.Type, Size: b.Size}, b.InUse, b.Size)
	}
	type data struct {
		Kinds []hoard
		Total int64
	}
	d := data{Kinds: []hoard{images, containers, volumes, cache}}
	for i := range d.Kinds {
		k := &d.Kinds[i]
		d.Total += k.Size
		slices.SortStableFunc(k.Parts, func(a, b part) int { return cmp.Compare(b.Size, a.Size) })
		k.Parts = k.Parts[:min(len(k.Parts), partsShown)]
	}
	return c.show("disk", view{Title: "Disk", Nav: "disk", Data: d})
}

func shortID(id string) string { return bare(id)[:min(12, len(bare(id)))] }
