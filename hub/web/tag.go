package web

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"lighter/hub/layers"
	"lighter/oci"
)

// choice is a link to another view of the same page.
type choice struct {
	Name, Link string
	Current    bool
}

// found is the image that a page is about.
type found struct {
	reference string
	top       oci.Digest // what the tag points at
	platforms []string
	platform  string // the chosen one; empty when there is no choice
	image     *picture
}

// find gives the image that a tag or a digest names, for a platform.
func (c *repoCall) find(reference, platform string) (found, error) {
	ctx, repo := c.r.Context(), c.Repo.ID
	f := found{reference: reference}
	var err error
	if f.top, err = c.s.resolve(ctx, repo, reference); err != nil {
		return f, err
	}
	what, err := c.s.factsOf(ctx, repo, f.top)
	if err != nil {
		return f, err
	}
	d := f.top
	if len(what.children) > 0 {
		c := what.choose(platform)
		d, f.platform, f.platforms = c.digest, c.platform, what.platforms
	}
	raw, err := c.s.manifest(ctx, repo, d)
	if err != nil {
		return f, err
	}
	m, _, err := oci.ParseManifest(raw)
	if err != nil || m == nil { // an empty index, or nothing that can be read
		f.image = &picture{Kind: what.kind}
		return f, nil
	}
	f.image, err = c.s.pictureOf(ctx, repo, d, m)
	return f, err
}

func (c *repoCall) platforms(f found) (list []choice) {
	for _, p := range f.platforms {
		list = append(list, choice{p, c.with("platform", p), p == f.platform})
	}
	return list
}

// summaries gives what each layer did. pending says that it is being found out, trouble
// why it cannot be.
func (c *repoCall) summaries(image *picture) (list []*layers.Summary, pending bool, trouble string, err error) {
	ctx := c.r.Context()
	if len(image.Layers) == 0 {
		return nil, false, "", nil
	}
	ok, err := c.s.keeps(ctx, c.Repo.ID, image.Layers)
	if err != nil {
		return nil, false, "", err
	}
	if !ok {
		return nil, false, "The hub does not keep all layers of this image, so their files are not shown.", nil
	}
	list, done, err := c.s.book.Summaries(ctx, image.Layers, c.s.patience)
	pending, trouble, err = c.verdict(done, err)
	return list, pending, trouble, err
}

// verdict tells what a page says when the book could not answer.
func (c *repoCall) verdict(done bool, err error) (pending bool, trouble string, _ error) {
	switch {
	case c.r.Context().Err() != nil:
		return false, "", c.r.Context().Err()
	case errors.Is(err, layers.ErrBusy):
		return false, "The hub reads many other images at the moment. Load the page again in a minute.", nil
	case err != nil: // it is in the log
		return false, "The layers could not be read. Load the page again in a minute.", nil
	}
	return !done, "", nil
}

// tag is the page of one image, or of one of its layers: tag/NAME[/layer/N].
func (c *repoCall) tag() error {
	if len(c.rest) != 1 && (len(c.rest) != 3 || c.rest[1] != "layer") {
		return notThere
	}
	c.Tab = "tags"
	f, err := c.find(c.rest[0], c.field("platform"))
	if err != nil {
		return err
	}
	sums, pending, trouble, err := c.summaries(f.image)
	if err != nil {
		return err
	}
	if len(c.rest) == 3 {
		return c.layer(f, sums, pending, trouble)
	}
	image := *f.image
	steps, largest := make([]stepView, len(image.Steps)), int64(1)
	for i, v := range image.Steps {
		if !v.Empty {
			largest = max(largest, v.Size)
			v.Link = c.path("tag/"+url.PathEscape(f.reference)+"/layer/"+strconv.Itoa(v.Number)) + query("platform", f.platform)
			if v.Layer < len(sums) && sums[v.Layer] != nil {
				v.Sum = sums[v.Layer]
				image.Files += v.Sum.Bytes
			}
		}
		steps[i] = v
	}
	return c.show("tag", view{Title: c.Repo.Name + ":" + f.reference, Refresh: pending, Data: struct {
		repoPage
		Name, Pull, Trouble string
		Digest              oci.Digest
		Platforms           []choice
		Image               *picture
		Steps               []stepView
		Largest             int64
		Pending             bool
	}{c.repoPage, shown(f.reference), "lighter pull " + c.s.image(c.r, c.Repo.Name, f.reference), trouble, f.top, c.platforms(f), &image, steps, largest, pending}})
}

// query writes one parameter, or nothing when it is empty.
func query(name, value string) string {
	if value == "" {
		return ""
	}
	return "?" + url.Values{name: {value}}.Encode()
}

// field is a hidden field of a form.
type field struct{ Name, Value string }

// fileList is a list of changed files with its form.
type fileList struct {
	Pending      bool
	Trouble, Cut string
	Action       string
	Keep         []field
	Find         string
	Ops          []choice
	Changes      []layers.Change
	Total        int
	Pages        pager
}

// filter fills the list with those changes that the address asks for.
func (l *fileList) filter(c *call, all []layers.Change) {
	const each = 200
	op, now := c.field("op"), c.number("page")
	l.Find = c.field("q")
	for _, name := range []string{"added", "changed", "removed"} {
		l.Ops = append(l.Ops, choice{Name: name, Current: op == name})
	}
	var some []layers.Change
	for _, one := range all {
		if strings.Contains(one.Path, l.Find) && (op == "" || opNames[one.Op] == op) {
			some = append(some, one)
		}
	}
	l.Total, l.Pages = len(some), c.pages(now, len(some), each)
	l.Changes = some[min((now-1)*each, len(some)):min(now*each, len(some))]
}

// layer is the page of one step of the history: all files that it touched.
func (c *repoCall) layer(f found, sums []*layers.Summary, pending bool, trouble string) error {
	n, err := strconv.Atoi(c.rest[2])
	if err != nil || n < 1 || n > len(f.image.Steps) || f.image.Steps[n-1].Empty {
		return notThere
	}
	at := f.image.Steps[n-1]
	back := c.path("tag/" + url.PathEscape(f.reference))
	list := fileList{Pending: pending, Trouble: trouble, Action: back + "/layer/" + c.rest[2]}
	if f.platform != "" {
		list.Keep = []field{{"platform", f.platform}}
	}
	if !pending && trouble == "" && at.Layer < len(sums) && sums[at.Layer] != nil {
		at.Sum = sums[at.Layer]
		if list.Cut = at.Sum.Cut; at.Sum.Err != "" {
			list.Trouble = "This layer cannot be read: " + at.Sum.Err
		}
		all, err := c.s.book.Changes(c.r.Context(), f.image.Layers[:at.Layer+1])
		if err != nil {
			return err
		}
		list.filter(c.call, all)
	}
	return c.show("layer", view{Title: "Step " + c.rest[2] + " of " + c.Repo.Name + ":" + f.reference, Refresh: pending, Data: struct {
		repoPage
		fileList
		Name, Back string
		Step       stepView
	}{c.repoPage, list, shown(f.reference), back + query("platform", f.platform), at}})
}
