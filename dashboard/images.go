package dashboard

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"lighter/api"
	"lighter/client"
	"lighter/page"
)

// imagePages are the pages about images.
type imagePages struct{ *Site }

// picture is an image in the list.
type picture struct {
	ID         string // without the algorithm
	Names      []string
	Size       int64
	Created    time.Time
	Containers int64
}

// images lists the images, the newest first.
func (s imagePages) images(c *call) error {
	list, err := s.engine.Images().List(c.ctx(), client.ImageListOptions{})
	if err != nil {
		return err
	}
	users, err := s.engine.Containers().List(c.ctx(), client.ListOptions{All: true})
	if err != nil {
		return err
	}
	used := map[string]int64{}
	for _, u := range users {
		used[u.ImageID]++
	}
	type data struct {
		Find  string
		List  []picture
		All   int
		Total int64
	}
	d := data{Find: page.Clip(strings.TrimSpace(c.field("q")), 200), All: len(list)}
	for _, i := range list {
		d.Total += i.Size
		p := picture{ID: bare(i.ID), Names: i.RepoTags, Size: i.Size, Created: time.Unix(i.Created, 0), Containers: used[i.ID]}
		if has(d.Find, append(p.Names, p.ID)...) {
			d.List = append(d.List, p)
		}
	}
	slices.SortStableFunc(d.List, func(a, b picture) int { return cmp.Compare(b.Created.Unix(), a.Created.Unix()) })
	return c.show("images", view{Title: "Images", Nav: "images", Data: d})
}

// bare is an id without its algorithm.
func bare(id string) string { return strings.TrimPrefix(id, "sha256:") }

// step is a step of an image's history.
type step struct {
	Number, Layer    int
	Verb, Text, Note string
	Size             int64
	Created          time.Time
}

// shownImage is an image as its pages show it.
type shownImage struct {
	*api.Image
	Short   string
	Name    string
	At      time.Time
	Steps   []step
	Largest int64
	Users   []box
	Command string
}

// findImage gives the image that a page is about.
func (s imagePages) findImage(c *call) (*shownImage, error) {
	raw, err := s.engine.Images().Inspect(c.ctx(), c.r.PathValue("id"), nil)
	if err != nil {
		return nil, err
	}
	v := &shownImage{Image: &api.Image{}}
	if err := json.Unmarshal(raw, v.Image); err != nil {
		return nil, err
	}
	v.Short, v.At = page.Short(v.ID), moment(v.Created)
	v.Name = v.Short
	if len(v.RepoTags) > 0 {
		v.Name = v.RepoTags[0]
	}
	history, err := s.engine.Images().History(c.ctx(), v.ID, nil)
	if err != nil {
		return nil, err
	}
	slices.Reverse(history)
	for n, h := range history {
		st := step{Number: n + 1, Layer: h.Layer, Size: h.Size, Note: h.Comment, Created: time.Unix(h.Created, 0)}
		st.Verb, st.Text = page.Step(h.CreatedBy)
		if st.Note == "buildkit.dockerfile.v0" {
			st.Note = ""
		}
		v.Largest = max(v.Largest, h.Size)
		v.Steps = append(v.Steps, st)
	}
	return v, nil
}

// image shows an image's settings and its layers as a history.
func (s imagePages) image(c *call) error {
	v, err := s.findImage(c)
	if err != nil {
		return err
	}
	users, err := s.engine.Containers().List(c.ctx(), client.ListOptions{All: true, Filters: api.Filters{"ancestor": {v.ID}}})
	if err != nil {
		return err
	}
	for i := range users {
		v.Users = append(v.Users, s.box(&users[i]))
	}
	if v.Config != nil {
		v.Command = strings.Join(append(slices.Clone(v.Config.Entrypoint), v.Config.Cmd...), " ")
	}
	return c.show("image", view{Title: v.Name, Nav: "images", Data: v})
}

// layer lists the files that a layer changed.
func (s imagePages) layer(c *call) error {
	v, err := s.findImage(c)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(c.r.PathValue("layer"))
	at := slices.IndexFunc(v.Steps, func(st step) bool { return st.Layer == number })
	if err != nil || number < 1 || at < 0 {
		return errNothing
	}
	list, err := s.engine.Images().LayerChanges(c.ctx(), v.ID, number)
	if err != nil {
		return err
	}
	type data struct {
		*shownImage
		Step  step
		Files files
	}
	return c.show("layer", view{Title: "Step " + strconv.Itoa(at+1) + " of " + v.Name, Nav: "images", Data: data{v, v.Steps[at], c.files(list)}})
}

// files is a page of a list of changes.
type files struct {
	Find                    string
	List                    []fileChange
	Added, Changed, Removed int
	All                     int // that the search found
	Before, After           string
	Page, Pages             int
}

type fileChange struct{ Op, Path string }

const filesShown = 200

// files makes a page of changes. Folders in which something changed, and nothing else about
// them, are told by what changed.
func (c *call) files(list []api.Change) files {
	f := files{Find: page.Clip(strings.TrimSpace(c.field("q")), 200)}
	parents := map[string]bool{}
	for _, ch := range list {
		for p := ch.Path; ; {
			cut := strings.LastIndexByte(p, '/')
			if cut <= 0 || parents[p[:cut]] {
				break
			}
			p = p[:cut]
			parents[p] = true
		}
	}
	var all []fileChange
	for _, ch := range list {
		if ch.Kind == 0 && parents[ch.Path] {
			continue
		}
		op := [...]string{"changed", "added", "removed"}[ch.Kind%3]
		*map[string]*int{"changed": &f.Changed, "added": &f.Added, "removed": &f.Removed}[op]++
		if has(f.Find, ch.Path) {
			all = append(all, fileChange{op, page.Shown(ch.Path)})
		}
	}
	f.All, f.Pages = len(all), max(1, (len(all)+filesShown-1)/filesShown)
	f.Page, _ = strconv.Atoi(c.field("page")) // what is no number is the first
	f.Page = min(max(f.Page, 1), f.Pages)
	f.List = all[min(len(all), (f.Page-1)*filesShown):min(len(all), f.Page*filesShown)]
	if f.Page > 1 {
		f.Before = c.with("page", strconv.Itoa(f.Page-1))
	}
	if f.Page < f.Pages {
		f.After = c.with("page", strconv.Itoa(f.Page+1))
	}
	return f
}

func (s imagePages) removeImageForm(c *call) error {
	v, err := s.findImage(c)
	if err != nil {
		return err
	}
	return c.show("removeimage", view{Title: "Remove " + v.Name, Nav: "images", Data: v})
}

// removeImage removes an image with all its names.
func (s imagePages) removeImage(c *call) error {
	raw, err := s.engine.Images().Inspect(c.ctx(), c.r.PathValue("id"), nil)
	var v api.Image
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return err
	}
	names := v.RepoTags
	if len(names) == 0 {
		names = []string{v.ID}
	}
	for _, name := range names {
		if _, err := s.engine.Images().Remove(c.ctx(), name, client.ImageRemoveOptions{}); err != nil {
			return err
		}
	}
	return c.done("/images", "remove")
}
