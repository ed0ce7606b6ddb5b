package build

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/gateway/client"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// made is the result of a build for one platform.
type made struct {
	platform oci.Platform
	name     string // of the platform, as the front end writes it
	ref      *reference
	config   []byte // the image's document, without its layers
	base     []byte // that of its base image, if there is one
	top      string // its layers, once it was solved
	epoch    time.Time
}

// export is what becomes of a job's result.
type export struct{ *job }

// deliver makes of the front end's result what is asked for.
func (j export) deliver(r *client.Result) (*api.BuildResult, error) {
	if report, ok := r.Metadata["result.json"]; ok && r.IsEmpty() {
		return &api.BuildResult{Report: report}, nil
	}
	list, err := j.apart(r)
	if err != nil {
		return nil, err
	}
	for _, m := range list { // all at once
		if m.ref.at.from != nil {
			j.visit(m.ref.at.from)
		}
	}
	for _, m := range list {
		out, err := j.solve(j.ctx, m.ref.at)
		if err != nil {
			return nil, j.cause(err)
		}
		if out.tree != nil {
			return nil, api.Errorf(api.NotImplemented, "a context alone is no image: copy it into a stage")
		}
		if err := j.date(j.ctx); err != nil {
			return nil, j.cause(err)
		}
		m.top = out.top
		m.epoch = j.epoch
	}
	if err := j.settle(); err != nil {
		return nil, err
	}
	for _, m := range list {
		if j.request.Squash {
			if err := j.squash(m); err != nil {
				return nil, err
			}
		}
	}
	j.job.results = list
	out, err := j.output(list)
	if err != nil {
		return nil, err
	}
	return out, j.exportCaches(list)
}

// apart takes the front end's result apart.
func (j export) apart(r *client.Result) ([]*made, error) {
	ps, err := exptypes.ParsePlatforms(r.Metadata)
	if err != nil {
		return nil, err
	}
	var list []*made
	for _, p := range ps.Platforms {
		m := &made{name: p.ID, platform: oci.Platform{OS: p.Platform.OS, Architecture: p.Platform.Architecture, Variant: p.Platform.Variant}}
		suffix := ""
		var ref client.Reference = r.Ref
		if len(r.Refs) > 0 {
			suffix, ref = "/"+p.ID, r.Refs[p.ID]
		}
		m.ref, _ = ref.(*reference)
		if m.ref == nil {
			m.ref = &reference{job: j.job}
		}
		m.config, m.base = r.Metadata[exptypes.ExporterImageConfigKey+suffix], r.Metadata[exptypes.ExporterImageBaseConfigKey+suffix]
		if len(m.config) == 0 {
			m.config = emptyConfig(m.platform)
		}
		list = append(list, m)
	}
	return list, nil
}

// output does with results what the request says.
func (j export) output(list []*made) (*api.BuildResult, error) {
	out := &api.BuildResult{Metadata: map[string]json.RawMessage{}}
	if len(j.request.Binds) > 0 {
		out.Metadata["lighter.reproducible"] = json.RawMessage("false")
	}
	outputs := j.request.Outputs
	if len(outputs) == 0 {
		outputs = []api.BuildOutput{{Type: "image"}}
	}
	for n, o := range outputs {
		do := exporters[o.Type]
		if do == nil {
			return nil, api.Errorf(api.Invalid, "there is no output of type %q", o.Type)
		}
		if err := checkAttrs(o); err != nil {
			return nil, err
		}
		if err := do(j, n, o, list, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// exporters are the kinds of output.
var exporters = map[string]func(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error{
	"image": exportImage, "registry": exportRegistry, "local": exportFiles, "tar": exportFiles, "oci": exportArchive, "docker": exportArchive,
	"cacheonly": func(export, int, api.BuildOutput, []*made, *api.BuildResult) error { return nil },
}

// exportImage keeps the result among the engine's images, and pushes it, when it is asked to.
func exportImage(j export, _ int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	names, err := namesOf(slices.Concat(j.request.Names, split(o.Attrs["name"])))
	if err != nil {
		return err
	}
	pushed := isTrue(o.Attrs["push"])
	if pushed && len(names) == 0 {
		return api.Errorf(api.Invalid, "tag is needed when pushing to registry")
	}
	t := j.chore("exporting to image")
	if len(list) > 1 && pushed {
		return t.end(j.pushIndex(t, o, list, names, out))
	}
	if len(list) > 1 {
		return t.end(errSeveral)
	}
	return t.end(func() error {
		var raw []byte
		err := t.part("exporting layers", func() (err error) {
			raw, err = j.document(list[0])
			return err
		})
		if err != nil {
			return err
		}
		id := oci.FromBytes(raw)
		if err := t.part("writing image "+string(id), func() error {
			_, err := image.Builds{Images: j.b.Images}.Built(raw, names)
			return err
		}); err != nil {
			return err
		}
		for _, ref := range names {
			_ = t.part("naming to "+ref.String(), func() error { return nil }) // it was, at once with the image
		}
		if pushed {
			if err := j.push(t, o, names); err != nil {
				return err
			}
		}
		out.ID = string(id)
		if err := j.noteSteps(id); err != nil {
			j.b.Log.Warn("the steps of an image are not kept", "image", id, "error", err)
		}
		return about(out, id, names)
	}())
}

var errSeveral = api.Errorf(api.Invalid, "an image of the engine's is for one platform: build for one at a time, or say --push, or --output type=oci,dest=FILE")

// documents writes those of the images for all platforms.
func (j export) documents(list []*made) (documents [][]byte, err error) {
	for _, m := range list {
		raw, err := j.document(m)
		if err != nil {
			return nil, err
		}
		documents = append(documents, raw)
	}
	return documents, nil
}

// document writes the image's document of a result.
func (j export) document(m *made) ([]byte, error) {
	diffs, err := j.b.diffs(m.top)
	if err != nil {
		return nil, err
	}
	raw, err := document(m.config, m.base, diffs, m.epoch, j.request.Classic)
	if err != nil {
		return nil, err
	}
	return j.inline(raw, m)
}

// diffs gives the diff ids of a stack of layers, lowest first.
func (b *Builder) diffs(top string) ([]string, error) {
	var list []string
	for top != "" {
		l, err := b.Layers.Get(top)
		if err != nil {
			return nil, err
		}
		list = append(list, l.DiffID)
		top = l.Parent
	}
	slices.Reverse(list)
	return list, nil
}

// namesOf reads the names that an image is to get.
func namesOf(list []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, name := range list {
		ref, err := oci.ParseReference(name)
		if err != nil {
			return nil, api.Errorf(api.Invalid, "invalid tag %q: %w", name, err)
		}
		if ref.Digest != "" {
			return nil, api.Errorf(api.Invalid, "invalid tag %q: a name with a digest cannot be given", name)
		}
		if ref = ref.OrLatest(); !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// split cuts a list at its commas.
func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// about notes what --metadata-file tells of an image.
func about(out *api.BuildResult, id oci.Digest, names []oci.Reference) error {
	values := map[string]string{}
	if id != "" {
		values[exptypes.ExporterImageConfigDigestKey], values[exptypes.ExporterImageDigestKey] = string(id), string(id)
	}
	out.Digest = string(id)
	for _, ref := range names {
		out.Names = append(out.Names, ref.String())
	}
	if len(out.Names) > 0 {
		values["image.name"] = strings.Join(out.Names, ",")
	}
	for name, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		out.Metadata[name] = text
	}
	return nil
}
