package web

import (
	"slices"
	"strings"
)

// setting is one that differs between two images.
type setting struct{ Name, From, To string }

// comparePage is what the page of two images shows.
type comparePage struct {
	repoPage
	fileList
	From, To           string
	Tags               []string
	Ready              bool // both are named
	Platform           string
	Platforms          []choice
	Same               bool
	Common             int // layers
	CommonSize, Fetch  int64
	FromSize, ToSize   int64
	FromSteps, ToSteps []stepView
	Settings           []setting
}

// compare is the page of two images of a repository: what they share, and what differs.
func (c *repoCall) compare() error {
	ctx := c.r.Context()
	c.Tab = "compare"
	tags, err := c.s.tags(ctx, c.Repo.ID, "", 100, 0)
	if err != nil {
		return err
	}
	data := comparePage{repoPage: c.repoPage, From: strings.TrimSpace(c.field("from")), To: strings.TrimSpace(c.field("to"))}
	for _, t := range tags {
		data.Tags = append(data.Tags, t.Name)
	}
	p := view{Title: "Compare tags of " + c.Repo.Name}
	if data.From == "" || data.To == "" {
		if data.From == "" && len(tags) > 1 { // what was pushed last, and what before it
			data.From, data.To = tags[1].Name, tags[0].Name
		}
		p.Data = data
		return c.show("compare", p)
	}
	from, err := c.find(data.From, c.field("platform"))
	if err == nil {
		var to found
		if to, err = c.find(data.To, c.field("platform")); err == nil {
			p.Title = "Compare " + data.From + " with " + data.To
			data.Ready, data.Platform, data.Platforms = true, from.platform, c.platforms(from)
			data.layers(from.image, to.image)
			data.settings(from.image, to.image)
			if err := c.compareFiles(&data, from.image, to.image); err != nil {
				return err
			}
			p.Refresh = data.Pending
		}
	}
	p.Data = data
	if unless(err, notThere) == nil && err != nil {
		return c.again("compare", p, bad("%s has no such tag: %s or %s", c.Repo.Name, data.From, data.To))
	}
	if err != nil {
		return err
	}
	return c.show("compare", p)
}

// layers counts what the two have in common, from the lowest layer up.
func (d *comparePage) layers(from, to *picture) {
	for d.Common < len(from.Layers) && d.Common < len(to.Layers) && from.Layers[d.Common] == to.Layers[d.Common] {
		d.Common++
	}
	d.Same = d.Common == len(from.Layers) && d.Common == len(to.Layers)
	d.FromSize, d.ToSize = from.Size, to.Size
	lay := func(image *picture) (list []stepView) {
		for _, v := range image.Steps {
			if !v.Empty {
				v.Common = v.Layer < d.Common
				list = append(list, v)
			}
		}
		return list
	}
	d.FromSteps, d.ToSteps = lay(from), lay(to)
	for _, v := range d.ToSteps {
		if v.Common {
			d.CommonSize += v.Size
		}
		if !slices.Contains(from.Layers, string(v.Digest)) {
			d.Fetch += v.Size
		}
	}
}

func (d *comparePage) settings(from, to *picture) {
	only := func(a, b []string) string { // what a has and b has not
		return strings.Join(slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) }), "\n")
	}
	for _, s := range []setting{
		{"Platform", from.Platform, to.Platform},
		{"Entrypoint", from.Entrypoint, to.Entrypoint},
		{"Command", from.Cmd, to.Cmd},
		{"User", from.User, to.User},
		{"Folder", from.WorkingDir, to.WorkingDir},
		{"Environment", only(from.Env, to.Env), only(to.Env, from.Env)},
		{"Labels", only(from.Labels, to.Labels), only(to.Labels, from.Labels)},
		{"Ports", only(from.Ports, to.Ports), only(to.Ports, from.Ports)},
		{"Volumes", only(from.Volumes, to.Volumes), only(to.Volumes, from.Volumes)},
	} {
		if s.From != s.To {
			d.Settings = append(d.Settings, s)
		}
	}
}

func (c *repoCall) compareFiles(d *comparePage, from, to *picture) error {
	ctx := c.r.Context()
	d.Action = c.path("compare")
	d.Keep = []field{{"from", d.From}, {"to", d.To}}
	if d.Platform != "" {
		d.Keep = append(d.Keep, field{"platform", d.Platform})
	}
	ok, err := c.s.keeps(ctx, c.Repo.ID, append(slices.Clone(from.Layers), to.Layers...))
	if err != nil {
		return err
	}
	if !ok {
		d.Trouble = "The hub does not keep all layers of these images, so their files are not compared."
		return nil
	}
	changes, cut, done, err := c.s.book.Compare(ctx, from.Layers, to.Layers, c.s.patience)
	if d.Pending, d.Trouble, err = c.verdict(done, err); err != nil || d.Pending || d.Trouble != "" {
		return err
	}
	d.Cut = cut
	d.filter(c.call, changes)
	return nil
}
