package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// images answers for images.
type images struct {
	s *Server
}

func (i *images) engine() *image.Images { return i.s.config.Images }

func (i *images) list(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	if pattern := r.query.Get("filter"); pattern != "" && r.older("1.41") {
		f.Add("reference", pattern)
	}
	list, err := i.engine().List(r.Context(), image.ListOptions{
		All: r.flag("all"), SharedSize: !r.older("1.42") && r.flag("shared-size"), Filters: f,
	})
	if err != nil {
		return err
	}
	for n := range list {
		shapeSummary(r, &list[n])
	}
	return writeJSON(w, http.StatusOK, list)
}

// shapeSummary gives an entry of a list the shape of the client's version.
func shapeSummary(r *request, s *api.ImageSummary) {
	switch {
	case !r.older("1.43"):
		if s.RepoTags == nil {
			s.RepoTags = []string{}
		}
		if s.RepoDigests == nil {
			s.RepoDigests = []string{}
		}
	case len(s.RepoTags)+len(s.RepoDigests) == 0:
		s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
	}
	if r.older("1.44") {
		s.VirtualSize = s.Size
	}
	if r.older("1.51") {
		s.Containers = -1
	}
}

// inspected is an image on the wire: its config comes last, with the fields that were
// always there in the client's version.
type inspected struct {
	*api.Image
	Config map[string]any
}

// Fields of an image's config that are shown though empty: since 1.50, and before.
var (
	configFields = map[string]any{
		"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": "",
	}
	oldConfigFields = map[string]any{
		"AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "",
		"OpenStdin": false, "StdinOnce": false, "Tty": false,
	}
)

func (i *images) inspect(w http.ResponseWriter, r *request) error {
	var p *oci.Platform
	if !r.older("1.49") {
		var err error
		if p, err = platformJSON(r.query.Get("platform")); err != nil {
			return err
		}
	}
	if p != nil && !r.older("1.48") && r.flag("manifests") {
		return api.Errorf(api.Invalid, "conflicting options: manifests and platform options cannot both be set")
	}
	img, err := i.engine().Inspect(r.name, p)
	if err != nil {
		return err
	}
	if img.RepoTags == nil {
		img.RepoTags = []string{}
	}
	if img.RepoDigests == nil {
		img.RepoDigests = []string{}
	}
	if r.older("1.44") {
		img.VirtualSize = img.Size
		if img.Created == "" {
			img.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	if !r.older("1.45") {
		img.Container, img.ContainerConfig = "", nil
	}
	out := inspected{Image: &img, Config: maps.Clone(configFields)}
	if r.older("1.50") {
		maps.Copy(out.Config, oldConfigFields)
	}
	raw, err := json.Marshal(img.Config)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	maps.Copy(out.Config, config)
	return writeJSON(w, http.StatusOK, out)
}

func (i *images) history(w http.ResponseWriter, r *request) error {
	p, err := r.platformSince("1.48")
	if err != nil {
		return err
	}
	steps, err := i.engine().History(r.name, p)
	if !r.ours() {
		for n := range steps {
			steps[n].Layer = 0
		}
	}
	return ok(w, steps, err)
}

func (i *images) tag(w http.ResponseWriter, r *request) error {
	err := i.engine().Tag(r.name, r.query.Get("repo"), r.query.Get("tag"))
	if err == nil {
		w.WriteHeader(http.StatusCreated)
	}
	return err
}

func (i *images) remove(w http.ResponseWriter, r *request) error {
	if strings.TrimSpace(r.name) == "" {
		return api.Errorf(api.Invalid, "image name cannot be blank")
	}
	o := image.RemoveOptions{Force: r.flag("force"), KeepParents: r.flag("noprune")}
	if wanted := r.query["platforms"]; !r.older("1.50") && len(wanted) > 0 {
		var err error
		for _, value := range wanted {
			if o.Platform, err = platformJSON(value); err != nil {
				return err
			}
		}
		if len(wanted) > 1 {
			return api.Errorf(api.Invalid, "multiple platforms are not supported")
		}
	}
	rows, err := i.engine().Remove(r.Context(), r.name, o)
	return ok(w, rows, err)
}

func (i *images) prune(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	pruned, err := i.engine().Prune(r.Context(), f)
	return ok(w, api.ImagesPruned{ImagesDeleted: pruned.Deleted, SpaceReclaimed: uint64(pruned.Reclaimed)}, err)
}

// create imports an image, from the request's body or from a URL.
func (i *images) create(w http.ResponseWriter, r *request) error {
	if name := r.query.Get("fromImage"); name != "" {
		return i.pull(w, r, name)
	}
	o := image.ImportOptions{Message: r.query.Get("message"), Changes: r.query["changes"]}
	if name := r.query.Get("platform"); name != "" && !r.older("1.32") {
		p, err := oci.ParsePlatform(name)
		if err != nil {
			return api.Errorf(api.Invalid, "%w", err)
		}
		o.Platform = &p
	}
	if repo := r.query.Get("repo"); repo != "" {
		ref, err := image.TagReference(repo, r.query.Get("tag"))
		if err != nil {
			return err
		}
		o.Name = &ref
	}
	source := r.query.Get("fromSrc")
	if o.Message == "" {
		o.Message = "Imported from " + source
	}
	out := newProgress(w)
	return out.end(i.runImport(r.Context(), r.Body, source, o, out))
}

func (i *images) runImport(ctx context.Context, body io.Reader, source string, o image.ImportOptions, out *progress) error {
	tell := func(p api.Progress) { _ = out.send(p) } // a client that is gone ends ctx
	if source != "-" {
		fetched, err := image.Fetch(ctx, source, tell)
		if err != nil {
			return err
		}
		defer fetched.Close()
		body = fetched
	}
	id, err := i.engine().Import(ctx, body, o)
	if err != nil {
		return err
	}
	return out.send(api.Progress{Status: string(id)})
}

// load answers 200 whatever happens: errors go in band, as Docker's clients expect.
func (i *images) load(w http.ResponseWriter, r *request) error {
	p, err := r.platformSince("1.48")
	if err != nil {
		return err
	}
	out := newProgress(w)
	o := image.LoadOptions{Quiet: r.flagOr("quiet", true), Platform: p}
	err = i.engine().Load(r.Context(), r.Body, o, func(p api.Progress) { _ = out.send(p) })
	if err != nil {
		msg := err.Error()
		_ = out.send(api.Progress{ErrorDetail: &api.ErrorDetail{Message: msg}, Error: msg})
		return nil
	}
	out.begin()
	return nil
}

// save sends a tar. What fails once it has begun can only be told by cutting it off:
// a client must not take half of it for the whole.
func (i *images) save(w http.ResponseWriter, r *request) error {
	names := r.query["names"]
	if r.name != "" {
		names = []string{r.name}
	}
	p, err := r.platformSince("1.48")
	if err != nil {
		return err
	}
	var out *bufio.Writer
	err = i.engine().Save(r.Context(), names, p, func() io.Writer {
		w.Header().Set("Content-Type", "application/x-tar")
		w.WriteHeader(http.StatusOK)
		out = bufio.NewWriterSize(w, 256<<10)
		return out
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil && out != nil {
		if !errors.Is(err, context.Canceled) {
			i.s.log.Error("an image was not saved to its end", "images", names, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// platformSince reads the platform that a client of version v or newer may ask for.
func (r *request) platformSince(v string) (*oci.Platform, error) {
	if r.older(v) {
		return nil, nil
	}
	if len(r.query["platform"]) > 1 {
		return nil, api.Errorf(api.Invalid, "multiple platform parameters not supported")
	}
	return platformJSON(r.query.Get("platform"))
}

// platformJSON reads a platform as JSON; empty gives nil.
func platformJSON(s string) (*oci.Platform, error) {
	if s == "" {
		return nil, nil
	}
	var p oci.Platform
	if err := json.Unmarshal([]byte(s), &p); err != nil {
		return nil, api.Errorf(api.Invalid, "failed to parse platform: %w", err)
	}
	if p.OS == "" && p.Architecture == "" && (p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0) {
		return nil, api.Errorf(api.Invalid, "optional platform fields provided, but OS and Architecture are missing")
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, api.Errorf(api.Invalid, "both OS and Architecture must be provided")
	}
	return &p, nil
}
