package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/hub/layers"
	"lighter/hub/meta"
	"lighter/oci"
	"lighter/page"
)

// maxConfig bounds an image's document, in bytes.
const maxConfig = 4 << 20

// facts are what lists tell about a manifest or an index.
type facts struct {
	platforms []string
	kind      string // "image", or an artifact's type
	size      int64
	children  []child // of an index
}

type child struct {
	platform string
	digest   oci.Digest
}

// factsOf gives them. A manifest that cannot be read has none, and says so.
func (s *catalog) factsOf(ctx context.Context, repo int64, d oci.Digest) (*facts, error) {
	if f, ok := s.facts.get(d); ok {
		return f, nil
	}
	raw, err := s.manifest(ctx, repo, d)
	if err != nil {
		return &facts{kind: "gone"}, unless(err, notThere)
	}
	f := &facts{kind: "unreadable"}
	m, index, err := oci.ParseManifest(raw)
	switch {
	case err != nil:
	case index != nil:
		f.kind = "index"
		for _, k := range index.Manifests {
			if !runs(k) {
				continue
			}
			c := child{platform: page.Short(string(k.Digest)), digest: k.Digest}
			if k.Platform != nil {
				c.platform = shown(k.Platform.String())
			}
			f.children = append(f.children, c)
			f.platforms = append(f.platforms, c.platform)
		}
		if len(f.children) > 0 {
			first, err := s.factsOf(ctx, repo, f.choose("").digest)
			if err != nil {
				return nil, err
			}
			f.size = first.size
		}
	default:
		p, err := s.pictureOf(ctx, repo, d, m)
		if err != nil {
			return nil, err
		}
		f.kind, f.size = p.Kind, p.Size
		if p.Platform != "" {
			f.platforms = []string{p.Platform}
		}
	}
	s.facts.put(d, f)
	return f, nil
}

// runs tells images from the attestations that stand beside them in an index, and from
// an index within the index, which would have no end.
func runs(d oci.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "" && d.MediaType != oci.MediaIndex && d.MediaType != oci.MediaDockerList &&
		(d.Platform == nil || d.Platform.OS != "unknown")
}

// choose gives the image for a platform; without one that for linux/amd64, or the first.
func (f *facts) choose(platform string) child {
	for _, want := range []string{platform, "linux/amd64"} {
		if i := slices.IndexFunc(f.children, func(c child) bool { return c.platform == want }); i >= 0 {
			return f.children[i]
		}
	}
	return f.children[0]
}

// picture is one image, as its page shows it.
type picture struct {
	Kind                        string // "image", or an artifact's type
	Platform                    string
	Created                     time.Time
	Size                        int64 // bytes to pull
	Files                       int64 // bytes of its files, where that is known
	Entrypoint, Cmd             string
	User, WorkingDir            string
	Env, Labels, Ports, Volumes []string
	Steps                       []stepView
	Layers                      []string // digests, lowest first
	Other                       []part   // of an artifact
}

// stepView is one step of an image's history.
type stepView struct {
	Number     int
	Verb, Text string
	Comment    string
	Empty      bool
	Layer      int // index of its layer
	Digest     oci.Digest
	Size       int64
	Sum        *layers.Summary
	Link       string
	Common     bool // with the image that it is compared with
}

// part is a blob of an artifact.
type part struct {
	Digest      string
	Title, Type string
	Size        int64
}

// pictureOf reads an image: its manifest, and its document from the storage.
func (s *catalog) pictureOf(ctx context.Context, repo int64, d oci.Digest, m *oci.Manifest) (*picture, error) {
	if p, ok := s.images.get(d); ok {
		return p, nil
	}
	p := &picture{Kind: "image", Size: m.Config.Size}
	for _, l := range m.Layers {
		p.Size += l.Size
	}
	if m.Config.MediaType != oci.MediaConfig && m.Config.MediaType != oci.MediaDockerConfig {
		p.artifact(m)
		s.images.put(d, p)
		return p, nil
	}
	for _, l := range m.Layers {
		p.Layers = append(p.Layers, string(l.Digest))
	}
	raw, err := s.config(ctx, repo, m.Config)
	if err != nil {
		return nil, err
	}
	img, err := oci.ParseImage(raw)
	if err != nil { // its layers are shown all the same
		img = &oci.Image{}
	} else {
		p.Platform = shown(img.Platform().String())
	}
	p.history(m, img)
	p.settings(img)
	s.images.put(d, p)
	return p, nil
}

// config reads an image's document, nothing when the repository has it not.
func (s *catalog) config(ctx context.Context, repo int64, d oci.Descriptor) ([]byte, error) {
	ok, err := s.keeps(ctx, repo, []string{string(d.Digest)})
	if err != nil || !ok {
		return nil, err
	}
	r, err := s.blobs.Open(ctx, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("open the document of an image: %w", err)
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxConfig))
}

func (p *picture) artifact(m *oci.Manifest) {
	p.Kind = "artifact"
	if kind := m.ArtifactType; kind != "" {
		p.Kind = shown(kind)
	} else if m.Config.MediaType != "" {
		p.Kind = shown(m.Config.MediaType)
	}
	for _, l := range m.Layers {
		p.Other = append(p.Other, part{string(l.Digest), shown(l.Annotations["org.opencontainers.image.title"]), shown(l.MediaType), l.Size})
		if len(p.Other) == 200 {
			return
		}
	}
}

// history lays the steps of the history beside the layers. Layers that no step speaks of
// get one of their own.
func (p *picture) history(m *oci.Manifest, img *oci.Image) {
	next := 0
	for _, h := range img.History {
		if len(p.Steps) >= 1000 {
			break
		}
		v := stepView{Empty: h.EmptyLayer || next >= len(m.Layers), Comment: shown(page.Clip(h.Comment, 300))}
		if v.Comment == "buildkit.dockerfile.v0" {
			v.Comment = ""
		}
		v.Verb, v.Text = page.Step(h.CreatedBy)
		if !v.Empty {
			v.Layer, v.Digest, v.Size = next, m.Layers[next].Digest, m.Layers[next].Size
			next++
		}
		p.Steps = append(p.Steps, v)
	}
	for ; next < len(m.Layers); next++ {
		p.Steps = append(p.Steps, stepView{Text: "(the image does not tell how this layer was made)", Layer: next,
			Digest: m.Layers[next].Digest, Size: m.Layers[next].Size})
	}
	for i := range p.Steps {
		p.Steps[i].Number = i + 1
	}
}

// settings reads what a container of the image starts with.
func (p *picture) settings(img *oci.Image) {
	if img.Created != nil {
		p.Created = *img.Created
	}
	var c api.ContainerConfig
	if json.Unmarshal(img.Config, &c) != nil {
		return
	}
	p.Entrypoint, p.Cmd = words(c.Entrypoint), words(c.Cmd)
	p.User, p.WorkingDir = shown(c.User), shown(c.WorkingDir)
	p.Env = some(c.Env)
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		p.Labels = append(p.Labels, k+"="+c.Labels[k])
	}
	p.Labels = some(p.Labels)
	for k := range c.ExposedPorts {
		p.Ports = append(p.Ports, string(k))
	}
	slices.Sort(p.Ports)
	p.Ports = some(p.Ports)
	p.Volumes = some(slices.Sorted(maps.Keys(c.Volumes)))
}

// some gives at most 200 texts, each of at most 2,000 bytes.
func some(list []string) []string {
	list = slices.Clone(list[:min(len(list), 200)])
	for i, s := range list {
		list[i] = shown(page.Clip(s, 2000))
	}
	return list
}

// words writes a command as in the exec form.
func words(list []string) string {
	if len(list) == 0 {
		return ""
	}
	var quoted []string
	for _, w := range some(list) {
		b, err := json.Marshal(w)
		if err != nil {
			continue
		}
		quoted = append(quoted, string(b))
	}
	s := strings.Join(quoted, ", ")
	return "[" + strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(s) + "]"
}

func shown(s string) string { return page.Shown(s) }

// unless gives err, but nil for one that is to be passed over.
func unless(err error, over *meta.Refusal) error {
	if r, ok := errors.AsType[*meta.Refusal](err); ok && r == over {
		return nil
	}
	return err
}
